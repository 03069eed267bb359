"""What the engine asks of an archive: a listing of its images, and their bytes."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from pipeline.errors import ImageError
from pipeline.records import ImageRecord

__all__ = ["NOTHING_KEPT", "Fetcher", "Source"]

NOTHING_KEPT = pa.schema([])


class Source(ABC):
    """A listing of images, such as a folder, some tars, or several sources together.

    Attributes:
        kept: columns that the records carry along, in the order of `ImageRecord.kept`.
        is_cheap_to_list: listing costs far less than reading the images.
    """

    kept: pa.Schema = NOTHING_KEPT
    is_cheap_to_list = True

    @abstractmethod
    def list_images(self) -> Iterator[ImageRecord]:
        """Streams all images, in the same order on every run.

        Keys are unique in an `Archive`; in other sources they may repeat.

        Raises:
            StorageDeniedError: access to the storage is denied.
            StorageFailedError: the storage keeps failing.
        """


class Fetcher(Protocol):
    """Reads the bytes of listed images; picklable, since decode actors use it."""

    def fetch_all(
        self, images: Sequence[ImageRecord], max_bytes: int
    ) -> Iterator[bytes | ImageError]:
        """The content of each image, in order, read ahead of the caller.

        An image that cannot be read (`fetch_failed`), is cut off (`truncated`) or is longer than
        `max_bytes` (`too_large`) yields its error; the others are not affected. A file that is no
        picture by its name is not read, and one by its start not to its end; their errors have a
        `kind`.

        Raises:
            StorageDeniedError: access is denied to all images.
        """
        ...
