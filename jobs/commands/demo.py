"""`dvt demo`: tags a generated archive and compares the tags with the true labels."""

from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
from deltalake import DeltaTable
from pydantic import Field

from dvt import Model, load_model
from jobs.options import Job, JobResult, job_command
from jobs.progress import shown_progress
from jobs.report import write_report
from jobs.shapes import write_shapes
from pipeline.errors import UsageError
from pipeline.job import tag_archive
from pipeline.output.layout import Output
from pipeline.output.metadata import Summary
from pipeline.settings import TagSettings

__all__ = ["DemoJob", "command", "run_demo"]


class DemoJob(Job):
    """Generates an archive of labelled images, some damaged, tags it, and writes the report."""

    out: Annotated[Path, Field(description="folder for archive, results and report")] = Path(
        "demo-output"
    )
    num_images: Annotated[int, Field(ge=1, description="number of intact images")] = 1500
    damaged: Annotated[int, Field(ge=0, description="number of damaged files")] = 28
    seed: Annotated[int, Field(ge=0, description="random seed of the images")] = 7


def run_demo(job: DemoJob) -> JobResult:
    """Runs the demo; a second run has nothing to do and reports the same figures.

    Raises:
        UsageError: OUT holds something else.
    """
    try:
        archive = write_shapes(
            job.out / "archive", job.num_images, seed=job.seed, damaged=job.damaged
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    results = job.out / "results"
    model = load_model("shapes")
    settings = TagSettings(
        input=(str(archive.images),),
        out=str(results),
        model="shapes",
        overwrite=not _can_continue(results, model),
    )
    with shown_progress() as listener:
        tag_archive(settings, model, listener)
    summary = Summary.model_validate_json((results / "summary.json").read_bytes())
    page = write_report(results)
    accuracy = _accuracy(results, archive.truth)
    assert summary.gmacs_per_image is not None
    saved = 1 - summary.gmacs_per_image / summary.gmacs_full_depth
    data: dict[str, Any] = {
        "accuracy": accuracy,
        "macs_saved": saved,
        "report": page,
        **summary.model_dump(mode="json"),
    }
    exits = " / ".join(f"{count:,}" for count in summary.exits)
    lines = (
        f"images           {summary.images:,} in {archive.images}",
        f"accuracy         {100 * accuracy:.2f} % of {summary.tagged:,} tags are correct",
        f"images per exit  {exits}",
        f"MACs saved       {100 * saved:z.0f} % ({1000 * summary.gmacs_per_image:.3g} of "
        f"{1000 * summary.gmacs_full_depth:.3g} MMACs per image)",
        f"dead letters     {summary.dead_letters:,} (deliberately damaged files)",
        f"results          {results}",
        f"report           {page}",
    )
    return JobResult(lines=lines, data=data)


def _accuracy(results: Path, truth: Path) -> float:
    """Share of the tags whose label is the true one."""
    rows = pq.read_table(truth, columns=["key", "label"]).to_pylist()
    label_of = {row["key"]: row["label"] for row in rows}
    tags = DeltaTable(str(results / "tags")).to_pyarrow_table(columns=["key", "label"])
    is_correct: list[bool] = [label_of[row["key"]] == row["label"] for row in tags.to_pylist()]
    return sum(is_correct) / max(1, len(is_correct))


def _can_continue(results: Path, model: Model) -> bool:
    """Whether the results are of this version of dvt and its model; others are replaced."""
    try:
        return Output(results).run_file().model.digest == model.digest()
    except UsageError:
        return False


command = job_command("demo", DemoJob, run_demo)
