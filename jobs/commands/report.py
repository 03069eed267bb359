"""`dvt report`: the cost report of an output."""

from typing import Annotated

from pydantic import Field

from jobs.options import Job, JobResult, job_command
from jobs.report import write_report
from pipeline.errors import UsageError

__all__ = ["ReportJob", "command", "run_report"]


class ReportJob(Job):
    """Writes the cost report of OUT as one HTML page that needs nothing else."""

    out: Annotated[str, Field(description="output of dvt tag: a folder or s3://bucket/prefix")]
    html: Annotated[
        str | None, Field(description="the page's file; OUT/report.html if not given")
    ] = None


def run_report(job: ReportJob) -> JobResult:
    """Writes the page.

    Raises:
        UsageError: OUT is no output of `dvt tag`.
    """
    try:
        page = write_report(job.out, job.html)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return JobResult(lines=(f"report: {page}",), data={"report": page})


command = job_command("report", ReportJob, run_report, arguments=("out",))
