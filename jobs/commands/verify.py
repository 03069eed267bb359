"""`dvt verify`: checks an output completely and says what is wrong."""

from typing import Annotated

from pydantic import Field

from jobs.options import Job, JobResult, job_command
from pipeline.output.verify import Verification, verify_output
from pipeline.units import counted

__all__ = ["VerifyJob", "command", "run_verify"]


class VerifyJob(Job):
    """Reads all files of OUT and checks them against its logs and counts; changes nothing.

    Every problem is one line, and the exit code is then 1. Each key must have one row, every
    committed file must be whole, and shards, summary.json and _SUCCESS must count what is there.
    The next dvt tag repairs lost rows by itself.
    """

    out: Annotated[str, Field(description="output of dvt tag: a folder or s3://bucket/prefix")]


def run_verify(job: VerifyJob) -> JobResult:
    """Reads the output; raises as `pipeline.output.verify.verify_output` does."""
    found = verify_output(job.out)
    return JobResult(
        lines=(*found.problems, _conclusion(found)),
        data=found.model_dump(mode="json"),
        exit_code=int(bool(found.problems)),
    )


def _conclusion(found: Verification) -> str:
    state = "finished" if found.finished else "not finished"
    rows = ", ".join(
        counted(count, name.replace("_", " ").removesuffix("s"))
        for name, count in found.rows.items()
    )
    problems = counted(len(found.problems), "problem") if found.problems else "no problems"
    return f"{found.out}: {state}, {rows}; {problems}"


command = job_command("verify", VerifyJob, run_verify, arguments=("out",))
