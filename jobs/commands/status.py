"""`dvt status`: shows the progress of a run, read from its output."""

from typing import Annotated

from pydantic import Field

from jobs.options import Job, JobResult, job_command
from pipeline.output.status import OutputStatus, read_status
from pipeline.units import counted

__all__ = ["StatusJob", "command", "run_status"]


class StatusJob(Job):
    """Shows tags, dead letters, other files, finished shards and the last commit of the run on OUT.

    Reads OUT only, so it works from any machine, also while a run is writing.
    """

    out: Annotated[str, Field(description="output of dvt tag: a folder or s3://bucket/prefix")]


def run_status(job: StatusJob) -> JobResult:
    """Reads the output; raises as `pipeline.output.status.read_status` does."""
    status = read_status(job.out)
    return JobResult(lines=_lines(status), data=status.model_dump(mode="json"))


def _lines(status: OutputStatus) -> tuple[str, ...]:
    state = "finished" if status.finished else "not finished"
    if status.running:
        state = f"running on {status.host}, process {status.pid}"
    age = status.last_commit_age_s
    return (
        f"{status.out}: {state}",
        f"{counted(status.tagged, 'image')} tagged, {counted(status.dead_letters, 'dead letter')}, "
        f"{counted(status.other_files, 'other file')}, {counted(status.shards, 'shard')} finished",
        "nothing committed yet" if age is None else f"last commit {age:,.0f} s ago",
    )


command = job_command("status", StatusJob, run_status, arguments=("out",))
