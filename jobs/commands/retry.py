"""`dvt retry`: the dead letters of an output again."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from jobs.commands.summary_text import summary_lines
from jobs.options import Job, JobResult, job_command
from jobs.progress import shown_progress
from pipeline.errors import Reason
from pipeline.job import retry_dead_letters
from pipeline.units import CountOrShare

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


class RetryJob(Job):
    """Does the dead letters of OUT again, as its last run would.

    Archive, model and thresholds are those of that run. What succeeds becomes a tag, and only then
    ceases to be a dead letter.
    """

    out: Annotated[str, Field(description="output of dvt tag: a folder or s3://bucket/prefix")]
    reason: Annotated[
        tuple[Reason, ...] | None,
        BeforeValidator(_reasons),
        Field(description="only dead letters of these reasons, such as fetch_failed,truncated"),
    ] = None
    max_errors: Annotated[
        CountOrShare, Field(description="stop after so many dead letters: N or P%")
    ] = None


def run_retry(job: RetryJob) -> JobResult:
    """Runs the job; see `pipeline.job.retry_dead_letters` for what it raises."""
    reasons = tuple(Reason) if job.reason is None else job.reason
    with shown_progress() as listener:
        summary = retry_dead_letters(job.out, reasons, job.max_errors, listener)
    num_retried = summary.tagged + summary.dead_letters
    first = (
        f"{num_retried:,} dead letters done again: {summary.tagged:,} tagged, "
        f"{summary.dead_letters:,} failed again"
    )
    left = summary.images - summary.tagged - summary.dead_letters - summary.skipped
    more = (f"{left:,} images have no result yet: run dvt tag again",) if left else ()
    return JobResult(
        lines=(first, *more, *summary_lines(summary)[1:]), data=summary.model_dump(mode="json")
    )


command = job_command("retry", RetryJob, run_retry, arguments=("out",))
