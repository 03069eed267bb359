"""`dvt report`: the cost report of an output."""

from typing import Annotated

from pydantic import Field

from jobs.options import Job, JobResult, job_command
from jobs.report import write_report

__all__ = ["ReportJob", "command", "run_report"]


class ReportJob(Job):
    """Writes the cost report of OUT as one self-contained HTML page."""

    out: Annotated[str, Field(description="output of dvt tag: a folder or s3://bucket/prefix")]
    html: Annotated[
        str | None, Field(description="file to write the page to [default: OUT/report.html]")
    ] = None


def run_report(job: ReportJob) -> JobResult:
    """Writes the page.

    Raises:
        UsageError: OUT is no output of `dvt tag`.
        OutputFailedError: OUT cannot be read or the page cannot be written.
    """
    page = write_report(job.out, job.html)
    return JobResult(lines=(f"report: {page}",), data={"report": page})


command = job_command("report", ReportJob, run_report, arguments=("out",))
