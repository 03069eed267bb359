"""`dvt duplicates`: lists near-duplicates in an index."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from jobs.options import Job, JobResult, job_command
from jobs.progress import rows_line, shown_line
from jobs.search.duplicates import find_duplicates
from jobs.search.engine import ImageIndex

__all__ = ["DuplicatesJob", "command", "run_duplicates"]


class DuplicatesJob(Job):
    """Lists groups of near-duplicates, by their embeddings; deletes nothing.

    The best copy of a group has the largest area, then the most bytes; it is the first of its rows.
    """

    index: Annotated[str, Field(description="index made by dvt index")]
    to: Annotated[str, Field(description="file of the table: .parquet or .csv")]
    min_similarity: Annotated[
        float, Field(gt=0, le=1, description="cosine similarity of two near-duplicates")
    ] = 0.98


def run_duplicates(job: DuplicatesJob) -> JobResult:
    """Writes the table; raises as `find_duplicates` and `ImageIndex` do."""
    with shown_line() as show:
        report = find_duplicates(
            ImageIndex(job.index),
            Path(job.to),
            job.min_similarity,
            lambda *progress: show(rows_line(*progress)),
        )
    line = (
        f"{report.images:,} images: {report.groups:,} groups of near-duplicates, "
        f"{report.duplicates:,} images besides the best of each"
    )
    return JobResult(lines=(line, f"table: {report.table}"), data=report.model_dump(mode="json"))


command = job_command("duplicates", DuplicatesJob, run_duplicates, arguments=("index",))
