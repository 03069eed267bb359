"""`dvt retry`: processes the dead letters of an output again."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from jobs.commands.summary_text import summary_lines
from jobs.options import JobResult, job_command
from jobs.progress import shown_progress
from pipeline.errors import Reason
from pipeline.job import retry_dead_letters
from pipeline.settings import RunOptions
from pipeline.units import counted

__all__ = ["RetryJob", "command", "run_retry"]


def _reasons(value: object) -> tuple[Reason, ...] | None:
    if value is None:
        return None
    names = value if isinstance(value, list | tuple) else str(value).split(",")
    try:
        return tuple(Reason(str(name).strip()) for name in names)
    except ValueError:
        allowed = ", ".join(reason.value for reason in Reason)
        raise ValueError(f"must be one or several of: {allowed}") from None


class RetryJob(RunOptions):
    """Processes the dead letters of OUT again, with the settings of its last run.

    Images that succeed move from the dead letters to the tags. Other files are left alone.
    """

    reason: Annotated[
        tuple[Reason, ...] | None,
        BeforeValidator(_reasons),
        Field(description="only dead letters with these reasons, e.g. fetch_failed,truncated"),
    ] = None


def run_retry(job: RetryJob) -> JobResult:
    """Runs the job; raises as `pipeline.job.retry_dead_letters` does."""
    reasons = tuple(Reason) if job.reason is None else job.reason
    with shown_progress() as listener:
        summary = retry_dead_letters(job.out, reasons, job.max_errors, listener)
    num_retried = summary.tagged + summary.dead_letters + summary.other_files
    others = f", {summary.other_files:,} are no pictures" if summary.other_files else ""
    first = (
        f"{counted(num_retried, 'dead letter')} processed: {summary.tagged:,} tagged, "
        f"{summary.dead_letters:,} failed again{others}"
    )
    left = summary.images - num_retried - summary.skipped
    more = (f"no result yet for {counted(left, 'image')}: run dvt tag",) if left else ()
    return JobResult(
        lines=(first, *more, *summary_lines(summary)[1:]), data=summary.model_dump(mode="json")
    )


command = job_command("retry", RetryJob, run_retry, arguments=("out",))
