"""`dvt search`: finds images in an index."""

import shutil
import tempfile
import webbrowser
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from jobs.options import JobResult, job_command
from jobs.search.contact_sheet import write_contact_sheet
from jobs.search.engine import Found, ImageIndex
from jobs.search.listing import hit_lines
from jobs.search.query import FilterOptions
from pipeline.errors import UsageError
from pipeline.options import Texts

__all__ = ["SearchJob", "command", "run_search"]


class SearchJob(FilterOptions):
    """Finds images in an index: by words, by an example picture, or by both.

    WORDS are searched in labels, synonyms, groups and keys. Each hit says why it was found; a line
    shows where weak hits begin. Without words and example, the most confident images are shown.
    """

    index: Annotated[str, Field(description="index made by dvt index")]
    words: Annotated[Texts, Field(description="words to search for")] = ()
    image: Annotated[str | None, Field(description="file of an example picture")] = None
    like: Annotated[str | None, Field(description="key of an indexed image as the example")] = None
    space: Annotated[
        str,
        Field(description="vectors to compare with --like: embedding, or a NAME of --vectors"),
    ] = "embedding"
    top_k: Annotated[int, Field(ge=1, le=10_000, description="number of hits")] = 20
    html: Annotated[str | None, Field(description="write a contact sheet to this file")] = None
    open: Annotated[bool, Field(description="open the contact sheet in the browser")] = False


def run_search(job: SearchJob) -> JobResult:
    """Searches the index.

    Raises:
        UsageError: INDEX is none, or the example has no vector in it.
        OutputFailedError: the index cannot be read, or a condition is not valid.
    """
    if job.image is not None and job.like is not None:
        raise UsageError("image: give either --image or --like, not both")
    index = ImageIndex(job.index)
    words = " ".join(job.words)
    found = index.search(words, _example(index, job), job.part(FilterOptions), job.top_k, job.space)
    lines = hit_lines(found, max(60, shutil.get_terminal_size((120, 24)).columns))
    sheet = _contact_sheet(job, found, " ".join(filter(None, (words, job.image or job.like))))
    return JobResult(
        lines=(*lines, *((f"contact sheet: {sheet}",) if sheet else ())),
        data={
            "hits": [asdict(hit) for hit in found.hits],
            "weak_from": found.weak_from,
            "contact_sheet": sheet,
        },
    )


def _example(index: ImageIndex, job: SearchJob) -> NDArray[np.float32] | None:
    if job.like is not None:
        return index.vector_of(job.like, job.space)
    return None if job.image is None else index.vector_of_picture(Path(job.image))


def _contact_sheet(job: SearchJob, found: Found, title: str) -> str | None:
    if job.html is None and not job.open:
        return None
    file = job.html or str(Path(tempfile.mkdtemp(prefix="dvt-search-")) / "hits.html")
    write_contact_sheet(found, title or "All images", file)
    if job.open:
        webbrowser.open(Path(file).absolute().as_uri())
    return file


command = job_command("search", SearchJob, run_search, arguments=("index", "words"))
