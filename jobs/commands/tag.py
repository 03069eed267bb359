"""`dvt tag`: tags an archive, or continues where an earlier run on the same output stopped."""

import dvt
from jobs.calibration.thresholds import ThresholdOptions, choose_thresholds
from jobs.commands.summary_text import budget_lines, deadline_lines, summary_lines
from jobs.options import JobResult, job_command
from jobs.progress import shown_progress
from pipeline.job import continued, tag_archive, with_pinned_model
from pipeline.settings import TagSettings

__all__ = ["TagJob", "command", "run_tag"]


class TagJob(TagSettings, ThresholdOptions):
    """Tags every image of an archive; continues where an earlier run on OUT stopped.

    With stricter thresholds, images that exited too early for them are tagged again.

    INPUT is a folder, a file, a glob, an s3://bucket/prefix, WebDataset tars (also as a range,
    {000..150}.tar), Parquet files, or a list of URIs (.txt, or .csv with a column uri); it may be
    repeated. OUT is a folder or s3://bucket/prefix; it receives Delta tables of tags, dead letters,
    other files (no pictures) and finished shards, and _SUCCESS at the end.
    """


def run_tag(job: TagJob) -> JobResult:
    """Runs the job; raises as `pipeline.job.tag_archive` and `choose_thresholds` do."""
    settings = with_pinned_model(job.part(TagSettings))
    model = dvt.load_model(settings.model)
    dtype, sure_of = continued(settings, model)
    choice = choose_thresholds(job, settings.model, model, dtype, sure_of)
    with shown_progress() as listener:
        summary = tag_archive(settings, model, listener, choice.thresholds, choice.deadline)
    lines = (
        *choice.promises,
        *summary_lines(summary),
        *deadline_lines(summary),
        *budget_lines(summary, job.budget),
    )
    return JobResult(lines=lines, data=summary.model_dump(mode="json"))


command = job_command("tag", TagJob, run_tag, arguments=("input",))
