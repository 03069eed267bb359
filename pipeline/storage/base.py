"""The two interfaces to storage: `Store` reads archives, `OutputStore` holds an output."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

from pipeline.errors import ImageError, Reason
from pipeline.storage.errors import FOREIGN_ERRORS, output_failures, storage_error
from pipeline.storage.retry_policy import RetryPolicy

__all__ = ["FileStatus", "OutputStore", "Store", "too_large"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileStatus:
    """Size and version of a file."""

    size_bytes: int
    etag: str | None = None


def too_large(size_bytes: int, max_bytes: int) -> ImageError:
    """The error for content that exceeds the limit."""
    return ImageError(Reason.TOO_LARGE, f"{size_bytes} bytes, at most {max_bytes} are read")


class Store(Protocol):
    """Reads files by URI; thread-safe.

    All reads retry transient failures. Given an etag, S3 reads that version of the object or fails;
    local files are read as they are now.
    """

    def status(self, uri: str) -> FileStatus | None:
        """Size and etag; None if there is no such file.

        Raises:
            UsageError: the URI is not valid.
            StorageDeniedError, StorageFailedError: the status is unknown.
        """
        ...

    def read(self, uri: str, status: FileStatus | None, max_bytes: int) -> bytes:
        """A whole file.

        Args:
            uri: of the file.
            status: as listed; None if unknown.
            max_bytes: longer files are not read.

        Raises:
            ImageError: the file cannot be read, has changed, or is too long.
            StorageDeniedError: no file can be read.
        """
        ...

    def read_range(self, uri: str, etag: str | None, start: int, length: int) -> bytes:
        """`length` bytes from `start`; fewer only at the end of the file.

        Raises:
            ImageError: the file cannot be read, or has changed.
            StorageDeniedError: no file can be read.
        """
        ...

    def open(self, uri: str, etag: str | None) -> BinaryIO:
        """A seekable stream.

        Raises:
            ImageError: the file cannot be read, or has changed; also raised by the stream.
            StorageDeniedError: no file can be read.
        """
        ...


class OutputStore(ABC):
    """A folder or prefix that holds an output; picklable.

    Names are relative to it, `/`-separated. Every operation retries transient failures and raises
    `OutputFailedError` if the storage keeps failing. Each operation takes effect whole or not at
    all.

    Attributes:
        uri: for messages.
        delta_url: for Delta Lake, which takes folders as they are and decodes URLs.
        local_folder: the folder, if it is on this machine's file system.
        retry_policy: for transient failures.
    """

    uri: str
    delta_url: str
    local_folder: Path | None = None
    retry_policy = RetryPolicy()

    @property
    @abstractmethod
    def delta_options(self) -> dict[str, str]:
        """Storage options for Delta tables in this store, without credentials."""

    @abstractmethod
    def child(self, name: str) -> "OutputStore":
        """The folder of that name."""

    @abstractmethod
    def prepare(self) -> None:
        """Creates the folder, where folders exist."""

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """Content of a file; None if there is no such file."""

    @abstractmethod
    def write(self, name: str, content: bytes | memoryview) -> None:
        """Writes a file durably; replaces an earlier one atomically."""

    @abstractmethod
    def create(self, name: str, content: bytes) -> bool:
        """Writes a file unless it exists; among concurrent callers exactly one gets True."""

    @abstractmethod
    def names(self) -> Iterator[str]:
        """Names directly below, in any order; those of folders end with a slash."""

    @abstractmethod
    def delete(self, names: Iterable[str]) -> None:
        """Removes files durably; missing ones are ignored."""

    @abstractmethod
    def sync(self, names: Iterable[str]) -> None:
        """Makes files durable that another library wrote; missing ones are ignored."""

    @abstractmethod
    def age_s(self, name: str) -> float | None:
        """Seconds since a file was written, by the storage's clock; None if it is missing.

        Negative if that clock has been set back since.
        """

    @abstractmethod
    def arrow(self) -> Any:
        """A read-only pyarrow file system rooted here."""

    def call(self, operation: Callable[[], T]) -> T:
        """Runs an operation of Delta Lake on this store, and retries it on transient failures.

        Delta Lake's object store retries each of the operation's requests by the same policy. It
        does not repeat a conditional put whose response is lost; this does.

        Args:
            operation: safe to repeat after it failed at an unknown point.
        """

        def attempt() -> T:
            try:
                return operation()
            except FOREIGN_ERRORS as error:
                raise storage_error(error, self.uri) from error

        with output_failures(self.uri):
            return self.retry_policy.call(attempt)
