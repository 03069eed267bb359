"""What the engine asks of a source."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from pipeline.errors import ImageError
from pipeline.records import ImageRecord

__all__ = ["NOTHING_KEPT", "Fetcher", "Source"]

NOTHING_KEPT = pa.schema([])


class Fetcher(Protocol):
    """Gets the bytes of images; travels to the decode actors, so it must pickle."""

    def fetch_all(
        self, images: Sequence[ImageRecord], max_bytes: int
    ) -> Iterator[bytes | ImageError]:
        """The content of each image, in order, read ahead while the caller works.

        An image that cannot be had (`fetch_failed`), is cut off (`truncated`) or is longer than
        `max_bytes` (`too_large`) gives its error in its place, and the others come all the same.

        Raises:
            StorageDeniedError: credentials or rights are missing, so that no image can be had.
        """
        ...


class Source(Protocol):
    """One part of an archive, such as a folder or a number of tars."""

    @property
    def kept(self) -> pa.Schema:
        """Columns that its records carry to the tags; most sources have none."""
        ...

    def list_images(self) -> Iterator[ImageRecord]:
        """All images as a stream, each key once, in the same order on every run.

        Raises:
            StorageDeniedError: the storage lets nobody in.
            StorageFailedError: it kept failing.
        """
        ...

    def count_images(self) -> int | None:
        """How many there are; None if telling would cost as much as reading the archive."""
        ...
