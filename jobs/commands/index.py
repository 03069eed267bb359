"""`dvt index`: builds a search index of an output, or brings it up to date."""

from typing import Annotated

from pydantic import Field

from jobs.index.state import IndexKind
from jobs.index.update import IndexReport, update_index
from jobs.options import Job, JobResult, job_command
from jobs.progress import rows_line, shown_line
from pipeline.options import Texts

__all__ = ["IndexJob", "command", "run_index"]


class IndexJob(Job):
    """Builds a search index of the tags and embeddings of OUT, or brings it up to date.

    The index remembers the version of OUT that it holds; the next call applies what was added,
    changed and removed since. It may run while dvt tag is writing to OUT, and be interrupted at any
    time. dvt search queries a LanceDB index.
    """

    out: Annotated[str, Field(description="output of dvt tag: a folder or s3://bucket/prefix")]
    to: Annotated[str, Field(description="the index: a folder or s3://bucket/prefix")]
    format: Annotated[IndexKind, Field(description="of the index")] = "lancedb"
    vectors: Annotated[
        Texts,
        Field(
            description="NAME=FILES: join vectors computed elsewhere: Parquet with a column key, "
            "or .npy with the keys in a .txt beside it; may be repeated"
        ),
    ] = ()
    overwrite: Annotated[bool, Field(description="build the index anew")] = False


def run_index(job: IndexJob) -> JobResult:
    """Updates the index; raises as `update_index` does."""
    with shown_line() as show:
        report = update_index(
            job.out,
            job.to,
            job.format,
            vectors=job.vectors,
            overwrite=job.overwrite,
            listener=lambda *progress: show(rows_line(*progress)),
        )
    is_whole = report.documents in (None, report.tags)
    return JobResult(
        lines=tuple(_lines(report)),
        data=report.model_dump(mode="json"),
        exit_code=0 if is_whole else 1,
    )


def _lines(report: IndexReport) -> list[str]:
    lines = [
        f"{report.index}: {report.written:,} documents written, {report.removed:,} removed, in "
        f"{report.seconds:,.1f} s",
    ]
    if report.documents is not None:
        lines.append(
            f"{report.documents:,} documents; tags has {report.tags:,} rows at version "
            f"{report.version}"
        )
        if report.documents != report.tags:
            lines.append("these should be equal: the next call compares every row")
    lines += [f"{count:,} vectors of {name} joined" for name, count in report.joined.items()]
    if report.recall_at_10 is not None:
        lines.append(f"recall@10 {report.recall_at_10:.1%} against exact search, on a sample")
    return lines


command = job_command("index", IndexJob, run_index, arguments=("out",))
