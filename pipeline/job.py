"""A tagging job from beginning to end: source, model, output, ledger, and the work on Ray."""

import logging
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

import dvt
from dvt.labels import SureOf
from dvt.loading import pin_model, same_model
from pipeline.deadline.controller import DeadlineController
from pipeline.deadline.log import DeadlineOutcome, ThresholdLog
from pipeline.deadline.policy import DeadlineSettings
from pipeline.errors import PipelineError, Reason, UsageError
from pipeline.output.delta_table import OutputTable
from pipeline.output.layout import Output
from pipeline.output.ledger import Ledger
from pipeline.output.metadata import RunFile, Summary, thresholds_text
from pipeline.output.retag import TagRequirements
from pipeline.output.summary import audit_of, summarise
from pipeline.progress import ProgressListener
from pipeline.records import tags_schema
from pipeline.runtime.ray_session import running_ray
from pipeline.runtime.resource_plan import Plan, job_dtype, plan_job
from pipeline.runtime.run_record import new_run_file
from pipeline.runtime.worklist import Worklist
from pipeline.settings import TagSettings
from pipeline.sources import Archive, open_archive
from pipeline.sources.listing import ShardListing

__all__ = ["continued", "retry_dead_letters", "tag_archive", "with_pinned_model"]

logger = logging.getLogger(__name__)

Work = Iterator[tuple[int, NDArray[np.int64]] | None]
"""Open shards and their rows without a result; None while the next shard is being listed."""


def with_pinned_model(settings: TagSettings) -> TagSettings:
    """Settings whose model stays the same: a revision of the hub becomes a commit.

    A run that continues an output uses the commit of the run before, unless a revision is given.

    Raises:
        ModelError: the model is on the hub, and cannot be loaded from there.
        UsageError: see `Output.run_file`.
    """
    source, output = settings.model, Output(settings.out)
    if not settings.overwrite and output.has_run():
        source = same_model(source, output.run_file().settings.model)
    return settings.model_copy(update={"model": pin_model(source)})


def continued(settings: TagSettings, model: dvt.Model) -> tuple[str, SureOf]:
    """The precision and the exit signal of a run: those of the output that it continues, if any.

    Raises:
        UsageError: see `Output.run_file`.
    """
    output = Output(settings.out)
    if settings.overwrite or not output.has_run():
        return job_dtype(settings, model), settings.sure_of
    earlier = output.run_file()
    is_given = "sure_of" in settings.model_fields_set
    return earlier.dtype, settings.sure_of if is_given else earlier.settings.sure_of


def tag_archive(
    settings: TagSettings,
    model: dvt.Model,
    listener: ProgressListener,
    thresholds: Sequence[float] | None = None,
    deadline: DeadlineSettings | None = None,
) -> Summary:
    """Tags every image that has no result yet, or one that left too early for the thresholds.

    Args:
        settings: of the job.
        model: `settings.model`, loaded.
        listener: receives progress.
        thresholds: one for each exit but the last; None for the model's own.
        deadline: thresholds change during the run so that it ends in time; `thresholds` are the
            loosest of them.

    Returns:
        What this run did; `summary.json` in the output has the totals of all runs.

    Raises:
        UsageError: the job cannot run as asked; nothing was changed.
        ModelError: the thresholds do not fit the model.
        PipelineError: the run stopped early; what is committed stays, the same call continues.
    """
    return _run(settings, model, listener, thresholds, deadline, retry=None)


def retry_dead_letters(
    out: str,
    reasons: Collection[Reason],
    max_errors: int | float | None,
    listener: ProgressListener,
) -> Summary:
    """Processes dead letters again, with the settings, model and thresholds of the last run.

    Args:
        out: the output.
        reasons: of the dead letters to process.
        max_errors: as in `TagSettings`; counts those that fail again.
        listener: receives progress.

    Raises:
        UsageError: there is no such output, or its job cannot run again.
        PipelineError: see `tag_archive`.
    """
    run = Output(out).run_file()
    changes = {"out": out, "overwrite": False, "max_errors": max_errors}
    settings = run.settings.model_copy(update=changes)
    model = dvt.load_model(settings.model)
    return _run(settings, model, listener, run.thresholds, deadline=None, retry=reasons)


def _run(
    settings: TagSettings,
    model: dvt.Model,
    listener: ProgressListener,
    thresholds: Sequence[float] | None,
    deadline: DeadlineSettings | None,
    retry: Collection[Reason] | None,
) -> Summary:
    """One run; `retry` are the reasons of the dead letters to process, None for all images."""
    started_s = time.monotonic()
    exit_thresholds = model.thresholds(thresholds, settings.sure_of)
    output = Output(settings.out)
    output.check_is_output()
    if not settings.overwrite and "keep_columns" not in settings.model_fields_set:
        settings = settings.model_copy(update={"keep_columns": output.kept_columns()})
    source = _open_source(settings)
    run = new_run_file(settings, source.names, model, exit_thresholds)
    schema = tags_schema(source.kept, model.embedding_digest())
    run = output.claim(run, settings.overwrite, schema)
    try:
        if run.satisfied_thresholds is not None and retry is None:
            logger.warning(
                "%s: some tags were made with the previous, looser thresholds (%s, now %s); images "
                "that exited below the new ones are processed again",
                settings.out,
                thresholds_text(run.satisfied_thresholds),
                thresholds_text(run.thresholds),
            )
        if run.lacks_embeddings and retry is None:
            logger.info("%s: images without an embedding are processed again", settings.out)
        tables = output.tables(schema)
        required = TagRequirements(run.thresholds, run.lacks_embeddings)
        gmacs = run.model.gmacs_per_exit
        ledger = Ledger(tables, gmacs, run.run, retry, required, run.is_retag)
        claimed = _Claimed(run, output, source, model, tables.tags, ledger)
        seconds, outcome = 0.0, None
        with ShardListing(source) as listing:
            work = _work_if_any(listing, ledger)
            if work is None:
                if ledger.totals.num_left:
                    output.mark_incomplete()
                ledger.commit(None, [], {})  # a crash may have left finished shards unrecorded
            else:
                output.mark_incomplete()
                worklist = Worklist(work, ledger, listing, settings.max_errors)
                seconds, outcome = _work_on_ray(claimed, worklist, listener, deadline, started_s)
        summary = _complete(claimed, seconds, is_retry=retry is not None)
        return summary.model_copy(update={"deadline": outcome})
    finally:
        output.release()


@dataclass(frozen=True, slots=True)
class _Claimed:
    """What a run works with once it has claimed the output."""

    run: RunFile
    output: Output
    source: Archive
    model: dvt.Model
    tags: OutputTable
    ledger: Ledger


def _open_source(settings: TagSettings) -> Archive:
    source = open_archive(settings.input, settings, output=settings.out)
    if next(source.list_images(), None) is None:
        filtered = " that match --include and --exclude"
        why = filtered if settings.include or settings.exclude else ""
        raise UsageError(f"input: no images in {', '.join(settings.input)[:200]}{why}")
    return source


def _work_if_any(listing: ShardListing, ledger: Ledger) -> Work | None:
    """The shards of an archive; None if every image has its result."""
    work = (None if shard is None else ledger.open(shard) for shard in listing)
    first = next((item for item in work if item is not None and len(item[1])), None)
    return None if first is None else chain([first], work)


def _work_on_ray(
    claimed: _Claimed,
    worklist: Worklist,
    listener: ProgressListener,
    deadline: DeadlineSettings | None,
    started_s: float,
) -> tuple[float, DeadlineOutcome | None]:
    """Works until every image is committed; returns the seconds that it took."""
    run, model = claimed.run, claimed.model
    thresholds = model.thresholds(run.thresholds)
    plan = plan_job(run.settings, model.spec, thresholds, run.dtype, run.model.digests)
    controller = None
    if deadline is not None:
        log = ThresholdLog(claimed.output.store, run.run, claimed.tags.check_epoch)
        controller = _controller(deadline, plan, run, started_s, log)
    work_started_s = time.monotonic()
    with running_ray(plan.num_cpus):
        from pipeline.runtime.launch import run_on_ray

        try:
            run_on_ray(
                run.settings,
                claimed.source,
                model,
                plan,
                claimed.ledger,
                worklist,
                listener,
                controller,
            )
        finally:
            if controller is not None:
                controller.save()
        seconds = time.monotonic() - work_started_s
    return seconds, None if controller is None else controller.outcome()


def _controller(
    deadline: DeadlineSettings, plan: Plan, run: RunFile, started_s: float, log: ThresholdLog
) -> DeadlineController:
    stages = [pool.stages for pool in plan.pools]
    batch_size = max(pool.batch_size for pool in plan.pools)
    gmacs, audit = run.model.gmacs_per_exit, run.settings.audit or 0.0
    return DeadlineController(deadline, gmacs, stages, batch_size, started_s, log, audit)


def _complete(claimed: _Claimed, seconds: float, is_retry: bool) -> Summary:
    """Writes totals and proof of completion; returns the summary of this run."""
    run, ledger = claimed.run, claimed.ledger
    if not ledger.is_complete:
        raise PipelineError("the run ended with unfinished shards; run the same command again")
    totals = ledger.totals
    is_whole = totals.num_left == 0
    if not is_retry:
        ledger.remove_unlisted_shards()
    elif run.is_retag:
        is_whole = False
        logger.warning(
            "some tags still have looser thresholds or no embedding; dvt tag processes them again"
        )
    claimed.output.merge_files()
    audit = None if run.settings.audit is None else audit_of(claimed.tags, totals.all_runs, run)
    both = {"images": totals.num_images, "audit": audit}
    seconds_of_all_runs = ledger.seconds_of_all_runs
    of_all_runs = summarise(totals.all_runs, run, seconds_of_all_runs, skipped=0, **both)
    claimed.output.complete(of_all_runs, is_whole)
    return summarise(
        totals.this_run,
        run,
        seconds,
        skipped=totals.num_skipped,
        tagged_before=totals.num_tagged_before,
        retagged=totals.num_retagged,
        **both,
    )
