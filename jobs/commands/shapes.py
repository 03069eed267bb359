"""`dvt shapes`: writes an archive of labelled synthetic images, some damaged on request."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from jobs.options import Job, JobResult, job_command
from jobs.shapes import write_shapes
from pipeline.errors import UsageError

__all__ = ["ShapesJob", "command", "run_shapes"]


class ShapesJob(Job):
    """Writes synthetic labelled images to OUT/images, with their labels in OUT/truth.parquet."""

    out: Annotated[Path, Field(description="folder to write")]
    num_images: Annotated[int, Field(ge=0, description="number of intact images")] = 1000
    damaged: Annotated[int, Field(ge=0, description="number of damaged files in addition")] = 0
    seed: Annotated[int, Field(ge=0, description="seed of the data set")] = 0
    size: Annotated[
        str | None,
        Field(pattern=r"^\d+x\d+$", description="WIDTHxHEIGHT in pixels [default: photo-like]"),
    ] = None


def run_shapes(job: ShapesJob) -> JobResult:
    """Writes the archive, unless it is already complete.

    Raises:
        UsageError: a value is out of bounds, or OUT holds something else.
    """
    size = None
    if job.size is not None:
        width, height = job.size.split("x")
        size = (int(width), int(height))
    try:
        archive = write_shapes(
            job.out, job.num_images, seed=job.seed, size=size, damaged=job.damaged
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    counts = f"{archive.num_images:,} images and {archive.num_damaged:,} damaged files"
    return JobResult(
        lines=(f"{counts}: {archive.images}", f"truth: {archive.truth}"),
        data={
            "images": str(archive.images),
            "truth": str(archive.truth),
            "num_images": archive.num_images,
            "num_damaged": archive.num_damaged,
        },
    )


command = job_command("shapes", ShapesJob, run_shapes, arguments=("out",))
