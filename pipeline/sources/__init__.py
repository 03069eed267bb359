"""Where images come from: each source lists records in order of their keys, and fetches bytes."""

from pathlib import Path

from pipeline.sources.base import Source
from pipeline.sources.folder import FolderSource

__all__ = ["FolderSource", "Source", "open_source"]


def open_source(location: str, exclude: Path | None = None) -> Source:
    """The source for an INPUT argument.

    Args:
        location: a folder.
        exclude: a folder to leave out, such as an output inside the archive.

    Raises:
        UsageError: there is no such input, or it is of a kind that is not supported.
    """
    return FolderSource.open(location, exclude)
