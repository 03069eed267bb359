"""Where files lie: what sources and fetchers ask of a local disk or an object store."""

from dataclasses import dataclass
from typing import BinaryIO, Protocol

__all__ = ["FileStatus", "Store"]


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What is known of a file without reading it."""

    size_bytes: int
    etag: str | None = None


class Store(Protocol):
    """Files by their URI; used by many threads at once."""

    def status(self, uri: str) -> FileStatus | None:
        """Size and etag; None if there is no such file.

        Raises:
            UsageError: the URI is none of this store's.
            StorageDeniedError, StorageFailedError: it cannot be told.
        """
        ...

    def read(self, uri: str, status: FileStatus | None, max_bytes: int) -> bytes:
        """A whole file.

        Args:
            uri: of the file.
            status: as listed; None if it was not. One that is another now is not read.
            max_bytes: files that are longer are not read.

        Raises:
            ImageError: it cannot be had, or is too long.
            StorageDeniedError: nothing can be had.
        """
        ...

    def read_range(self, uri: str, etag: str | None, start: int, length: int) -> bytes:
        """A part of a file; less than `length` only where the file ends.

        Raises:
            ImageError: it cannot be had.
            StorageDeniedError: nothing can be had.
        """
        ...

    def open(self, uri: str, etag: str | None) -> BinaryIO:
        """A file to be read in pieces, forward and by seeking.

        Raises:
            ImageError: also while it is being read.
            StorageDeniedError: nothing can be had.
        """
        ...
