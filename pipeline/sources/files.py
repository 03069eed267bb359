"""Listings made of others: named files, and those of a listing that pass a filter."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import unquote_to_bytes

from pipeline.errors import UsageError
from pipeline.records import ImageRecord
from pipeline.sources.base import Source
from pipeline.sources.keys import as_text
from pipeline.storage import Stores
from pipeline.storage.s3_connection import NUM_CONNECTIONS
from pipeline.units import counted

__all__ = ["FilteredFiles", "NamedFiles", "named_files"]

logger = logging.getLogger(__name__)


class NamedFiles(Source):
    """Files that were named one by one.

    Args:
        files: with ascending keys.
    """

    def __init__(self, files: Sequence[ImageRecord]) -> None:
        self._files = files

    def list_images(self) -> Iterator[ImageRecord]:
        """See `Source.list_images`."""
        return iter(self._files)


class FilteredFiles(Source):
    """The files of a listing whose keys pass a filter.

    Args:
        files: the listing.
        accepts: the filter.
        others: why files do not pass, for one line of the log; None to log nothing.
    """

    def __init__(
        self, files: Source, accepts: Callable[[str], bool], others: str | None = None
    ) -> None:
        self._files = files
        self._accepts = accepts
        self._others = others

    def list_images(self) -> Iterator[ImageRecord]:
        """See `Source.list_images`."""
        num_rejected = 0
        for image in self._files.list_images():
            if self._accepts(image.key):
                yield image
            else:
                num_rejected += 1
        if num_rejected and self._others is not None:
            logger.info("skipped %s: %s", counted(num_rejected, "file"), self._others)
            self._others = None  # once is enough


def named_files(uris: Sequence[str], stores: Stores, folder_length: int) -> NamedFiles:
    """Files, all of which must exist; keys are what follows the folder in their URIs.

    Raises:
        UsageError: there is no such file.
    """
    with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
        statuses = list(pool.map(lambda uri: stores.of(uri).status(uri), uris))
    files = []
    for uri, status in zip(uris, statuses, strict=True):
        key = uri[folder_length:]
        if not uri.startswith("s3://"):
            key = as_text(unquote_to_bytes(key))
        if status is None:
            raise UsageError(f"no such file: {uri}")
        files.append(ImageRecord(key, uri, status.size_bytes, status.etag))
    return NamedFiles(files)
