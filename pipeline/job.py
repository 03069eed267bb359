"""Tagging one archive: puts source, model, output, scheduler and actors together."""

import itertools
import logging
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

import dvt
from dvt.exits import FULL_DEPTH
from dvt.validation import first_problem
from pipeline.audit.summary import AuditCounts, AuditSummary, summarise_audit
from pipeline.deadline.controller import DeadlineController
from pipeline.deadline.log import DeadlineOutcome, ThresholdLog
from pipeline.deadline.policy import DeadlineSettings
from pipeline.errors import PipelineError, Reason, UsageError
from pipeline.output.counts import Counts
from pipeline.output.delta_table import OutputTable
from pipeline.output.layout import Output
from pipeline.output.ledger import Ledger
from pipeline.output.metadata import RunFile, Summary, thresholds_text
from pipeline.progress import ProgressListener
from pipeline.records import TAGS_SCHEMA
from pipeline.runtime.ray_session import running_ray
from pipeline.runtime.resource_plan import Plan, plan_job
from pipeline.runtime.run_record import new_run_file
from pipeline.settings import TagSettings
from pipeline.sources import Archive, open_archive
from pipeline.sources.listing import listed_ahead
from pipeline.sources.sharding import cut_shards

__all__ = ["retry_dead_letters", "tag_archive"]

logger = logging.getLogger(__name__)


def tag_archive(settings: TagSettings, listener: ProgressListener) -> Summary:
    """Tags every image of the archive that has no result yet, or one of looser thresholds.

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
    started_s = time.monotonic()
    output = Output(settings.out)
    source = open_archive(settings.inputs, settings.reading, output=settings.out)
    model = dvt.load_model(settings.model)
    config = model.config
    full_depth = [FULL_DEPTH] * (config.num_stages - 1)
    thresholds = model.thresholds(full_depth if settings.full_depth else settings.thresholds)
    if next(source.list_images(), None) is None:
        filters = settings.reading.include or settings.reading.exclude
        why = " that fit --include and --exclude" if filters else ""
        raise UsageError(f"input: no images in {', '.join(settings.inputs)[:200]}{why}")
    run = new_run_file(settings, source.names, model, thresholds)
    run = output.claim(run, settings.overwrite, _tags_schema(source))
    settings = replace(settings, audit=run.audit)  # maybe that of an earlier run
    if run.satisfied_thresholds is not None and retry is None:
        logger.warning(
            "%s has tags that may have left by the looser thresholds of before (%s, now %s); "
            "those that these would not have let go are done again",
            *(
                settings.out,
                thresholds_text(run.satisfied_thresholds),
                thresholds_text(run.thresholds),
            ),
        )
    try:
        return _tag(settings, source, model, run, output, listener, retry, started_s)
    finally:
        output.release()


def _tag(
    settings: TagSettings,
    source: Archive,
    model: dvt.Cascade,
    run: RunFile,
    output: Output,
    listener: ProgressListener,
    retry: Collection[Reason] | None,
    started_s: float,
) -> Summary:
    """The work on an output that was claimed."""
    gmacs = run.model.gmacs_per_exit
    thresholds = model.thresholds(run.thresholds)
    tables = output.tables(_tags_schema(source))
    retag_finished = run.satisfied_thresholds is not None
    ledger = Ledger(*tables, gmacs, run.run, retry, run.thresholds, retag_finished)
    work = _work(source, ledger)
    first = next((item for item in work if item is not None and len(item[1])), None)
    seconds = 0.0
    deadline: DeadlineController | None = None
    outcome: DeadlineOutcome | None = None
    if first is not None:
        output.mark_incomplete()
        work = itertools.chain([first], work)
        plan = plan_job(settings, model.config, thresholds, run.dtype)
        if settings.deadline is not None:
            used = ThresholdLog(output.store, run.run, tables[0].check_epoch)
            share = run.audit or 0.0
            deadline = _deadline(settings.deadline, plan, gmacs, started_s, used, share)
        started = time.monotonic()
        with running_ray(plan.num_cpus):
            from pipeline.runtime.launch import run_on_ray

            try:
                run_on_ray(settings, source, model, plan, ledger, work, listener, deadline)
            finally:
                if deadline is not None:
                    deadline.save()
            seconds = time.monotonic() - started
        outcome = None if deadline is None else deadline.outcome()
    else:
        ledger.commit(None, [], {})  # a crash may have left finished shards unrecorded
    if not ledger.is_complete:
        raise PipelineError("the run ended with shards that are not finished; run it again")
    totals = ledger.totals
    is_whole = totals.num_left == 0
    if retag_finished and retry is None:
        ledger.reopen_unlisted_shards()
    elif retag_finished:
        is_whole = False
        logger.warning("stricter thresholds are not reached everywhere; dvt tag goes on with that")
    output.merge_files()
    out = str(settings.out)
    audit = None if run.audit is None else _audit(tables[0], totals.all_runs, gmacs)
    all_seconds = ledger.seconds_of_all_runs
    output.complete(
        _summary(totals.all_runs, totals.num_images, 0, gmacs, all_seconds, out, audit), is_whole
    )
    now = _summary(
        totals.this_run, totals.num_images, totals.num_skipped, gmacs, seconds, out, audit
    )
    of_this_run = {
        "tagged_before": totals.num_tagged_before,
        "retagged": totals.num_retagged,
        "deadline": outcome,
    }
    return now.model_copy(update=of_this_run)


def _tags_schema(source: Archive) -> pa.Schema:
    return pa.schema([*TAGS_SCHEMA, *source.kept])


def _deadline(
    settings: DeadlineSettings,
    plan: Plan,
    gmacs: tuple[float, ...],
    started_s: float,
    used: ThresholdLog,
    audit: float,
) -> DeadlineController:
    pools = [(pool.first_stage, pool.last_stage) for pool in plan.limits.pools]
    batch_size = max(pool.cascade.batch_size for pool in plan.pools)
    return DeadlineController(settings, gmacs, pools, batch_size, started_s, used, audit)


def _work(source: Archive, ledger: Ledger) -> Iterator[tuple[int, NDArray[np.int64]] | None]:
    """Shards with what is left to do in them, maybe nothing; None while none is listed."""
    for shard in listed_ahead(cut_shards(source.list_images())):
        if shard is None:
            yield None
            continue
        yield ledger.open(shard)


def _audit(tags: OutputTable, done: Counts, gmacs: tuple[float, ...]) -> AuditSummary:
    """The audit of all runs, from the rows of its images alone."""
    counts = AuditCounts(len(gmacs))
    columns = ["exit_stage", "label_id", "audit_label_id"]
    for batch in tags.batches(columns, pc.field("audit_label_id").is_valid()):
        counts.add(*(batch[name].to_numpy() for name in columns))
    return summarise_audit(counts, done.exits - done.copies, gmacs)


def _summary(
    counts: Counts,
    num_images: int,
    num_skipped: int,
    gmacs: tuple[float, ...],
    seconds: float,
    out: str,
    audit: AuditSummary | None,
) -> Summary:
    spent = counts.gmacs(np.array(gmacs))
    return Summary(
        images=num_images,
        tagged=counts.num_tagged,
        dead_letters=counts.num_dead_letters,
        skipped=num_skipped,
        exits=tuple(counts.exits.tolist()),
        gmacs_per_image=spent / counts.num_tagged if counts.num_tagged else None,
        gmacs_full_depth=gmacs[-1],
        seconds=round(seconds, 3),
        images_per_second=round(counts.num_done / seconds, 3) if seconds > 0 else None,
        out=out,
        audit=audit,
    )
