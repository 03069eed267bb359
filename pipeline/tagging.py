"""Tagging one archive: puts source, model, output, scheduler and actors together."""

import itertools
import time
import uuid
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

import dvt
from dvt.checkpoint import model_digest
from dvt.config import first_problem
from dvt.device import best_device, inference_dtype
from dvt.exits import FULL_DEPTH
from pipeline.cluster import running_ray
from pipeline.errors import Reason, UsageError
from pipeline.ledger import Ledger
from pipeline.output import ModelIdentity, Output, RunFile, Summary
from pipeline.placement import hardware, plan_job
from pipeline.progress import ProgressListener
from pipeline.settings import TagSettings
from pipeline.shards import cut_shards
from pipeline.sources import Source, open_source
from pipeline.tally import Tally

__all__ = ["retry_dead_letters", "tag_archive"]


def tag_archive(settings: TagSettings, listener: ProgressListener) -> Summary:
    """Tags every image of the archive that has no result yet.

    Returns:
        What this run did; `summary.json` in the output has the totals of all runs.

    Raises:
        UsageError: the job cannot be run as asked; nothing was changed.
        ModelError: the model or its thresholds are unusable.
        PipelineError: it was stopped; what is committed stays, the same call continues.
    """
    return _run(settings, listener, retry=None)


def retry_dead_letters(
    out: str | Path,
    reasons: Collection[Reason],
    max_dead_letters: int | float | None,
    listener: ProgressListener,
) -> Summary:
    """Does dead letters of an output again, with the archive, model and thresholds of its last run.

    Args:
        out: the output.
        reasons: which of them.
        max_dead_letters: as in `TagSettings`; counts those that fail again.
        listener: told about progress.

    Raises:
        UsageError: there is no such output, or it cannot be done again.
        PipelineError: see `tag_archive`.
    """
    run = Output(out).run_file()
    if run is None:
        raise UsageError(f"out: {out} is no output of dvt (it has no run.json)")
    asked = {**run.settings, "out": str(out), "max_dead_letters": max_dead_letters}
    try:
        settings = TypeAdapter(TagSettings).validate_python(asked)
    except ValidationError as error:
        raise UsageError(
            f"out: run.json in {out} does not say how its job was run ({first_problem(error)}); "
            "run dvt tag on it once"
        ) from error
    settings = replace(settings, thresholds=run.thresholds, full_depth=False)
    return _run(settings, listener, retry=reasons)


def _run(
    settings: TagSettings, listener: ProgressListener, retry: Collection[Reason] | None
) -> Summary:
    output = Output(settings.out)
    source = open_source(settings.source, exclude=output.place.local_folder)
    model = dvt.load_model(settings.model)
    config = model.config
    full_depth = [FULL_DEPTH] * (config.num_stages - 1)
    thresholds = model.thresholds(full_depth if settings.full_depth else settings.thresholds)
    if next(source.list_images(), None) is None:
        raise UsageError(f"input: no images in {settings.source}")
    run = _run_file(settings, source, model, thresholds)
    output.claim(run, settings.overwrite)
    try:
        return _tag(settings, source, model, run, output, listener, retry)
    finally:
        output.release()


def _tag(
    settings: TagSettings,
    source: Source,
    model: dvt.Cascade,
    run: RunFile,
    output: Output,
    listener: ProgressListener,
    retry: Collection[Reason] | None,
) -> Summary:
    """The work on an output that was claimed."""
    gmacs = run.model.gmacs_per_exit
    thresholds = model.thresholds(run.thresholds)
    ledger = Ledger(*output.tables(), gmacs, run.run, retry)
    work = _work(source, ledger)
    first = next(work, None)
    seconds = 0.0
    if first is not None:
        output.reopen()
        work = itertools.chain([first], work)
        plan = plan_job(settings, model.config, thresholds, run.dtype)
        started = time.monotonic()
        with running_ray(plan.num_cpus):
            from pipeline.on_ray import run_on_ray

            run_on_ray(settings, source, plan, ledger, work, listener)
            seconds = time.monotonic() - started
    else:
        ledger.commit(None, [], {})  # a crash may have left finished shards unrecorded
    assert ledger.is_complete, "the coordinator ended with open shards"
    output.merge_files()
    totals = ledger.totals
    out = str(settings.out)
    output.complete(
        _summary(totals.all_runs, totals.num_images, 0, gmacs, ledger.seconds_of_all_runs, out),
        is_whole=totals.num_left == 0,
    )
    return _summary(totals.this_run, totals.num_images, totals.num_skipped, gmacs, seconds, out)


def _work(source: Source, ledger: Ledger) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Shards with something left to do; finished ones are only counted."""
    for shard in cut_shards(source.list_images()):
        number, rows = ledger.open(shard)
        if len(rows):
            yield number, rows


def _run_file(
    settings: TagSettings, source: Source, model: dvt.Cascade, thresholds: tuple[float, ...]
) -> RunFile:
    config = model.config
    device = best_device()
    names = {"dvt": "dvt-pipeline", "torch": "torch", "ray": "ray", "deltalake": "deltalake"}
    return RunFile(
        run=f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}",
        inputs=(source.name,),
        model=ModelIdentity(
            name=config.name,
            digest=model_digest(model),
            num_classes=config.num_classes,
            grids=tuple(grid.size for grid in config.grids),
            gmacs_per_exit=dvt.gmacs_per_exit(config),
        ),
        thresholds=thresholds[:-1],
        top_k=settings.top_k,
        dtype=str(inference_dtype(device)).removeprefix("torch."),
        batch_size=settings.batch_size,
        versions={key: version(name) for key, name in names.items()},
        hardware=hardware(),
        started_at=datetime.now(UTC).replace(microsecond=0),
        settings=_for_a_retry(settings),
    )


def _for_a_retry(settings: TagSettings) -> dict[str, Any]:
    """What was asked for, with paths that mean the same from another folder."""
    asked: dict[str, Any] = TypeAdapter(TagSettings).dump_python(settings, mode="json")
    for name in ("out", "overwrite", "max_dead_letters", "thresholds"):
        del asked[name]
    for name in ("source", "model"):
        path = Path(asked[name]).expanduser()
        if path.exists():
            asked[name] = str(path.absolute())
    return asked


def _summary(
    tally: Tally,
    num_images: int,
    num_skipped: int,
    gmacs: tuple[float, ...],
    seconds: float,
    out: str,
) -> Summary:
    spent = float(tally.exits @ np.array(gmacs))
    return Summary(
        images=num_images,
        tagged=tally.num_tagged,
        dead_letters=tally.num_dead_letters,
        skipped=num_skipped,
        exits=tuple(tally.exits.tolist()),
        gmacs_per_image=spent / tally.num_tagged if tally.num_tagged else None,
        gmacs_full_depth=gmacs[-1],
        seconds=round(seconds, 3),
        images_per_second=round(tally.num_done / seconds, 3) if seconds > 0 else None,
        out=out,
    )
