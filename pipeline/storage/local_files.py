"""Reads local files by `file://` URI; names may hold any bytes.

The etag of a local file is its size and the time of its last change. It is compared after each
read, so that no content of another version is returned.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from pipeline.errors import ImageError, Reason
from pipeline.storage.base import FileStatus, too_large

__all__ = ["LocalFiles", "file_uri", "local_etag", "read_file"]


def file_uri(path: bytes) -> str:
    """The URI of an absolute path."""
    return "file://" + quote_from_bytes(path)


def read_file(uri: str, max_bytes: int) -> bytes:
    """The content of a local file.

    Raises:
        ImageError: the file cannot be read (`fetch_failed`), or is longer than `max_bytes`.
    """
    return LocalFiles().read(uri, None, max_bytes)


def local_etag(status: os.stat_result) -> str:
    """The version of a local file: its size and the time of its last change."""
    return f"{status.st_size:x}-{status.st_mtime_ns:x}"


class LocalFiles:
    """See `Store`; `local_etag` is the etag."""

    def status(self, uri: str) -> FileStatus | None:
        """See `Store.status`."""
        try:
            status = os.stat(_path(uri))
        except (OSError, ValueError):
            return None
        return FileStatus(status.st_size, local_etag(status))

    def read(self, uri: str, status: FileStatus | None, max_bytes: int) -> bytes:
        """See `Store.read`."""
        with _read_errors(), _ListedFile(uri, None if status is None else status.etag) as file:
            size_bytes = file.size_bytes
            if size_bytes > max_bytes:
                raise too_large(size_bytes, max_bytes)
            # Files in /proc declare no size. One byte more than declared reveals growth.
            content = _read(file, (size_bytes or max_bytes) + 1)
        if len(content) > max_bytes:
            raise too_large(len(content), max_bytes)
        if size_bytes and len(content) != size_bytes:
            raise ImageError(Reason.FETCH_FAILED, "changed while it was read")
        return content

    def read_range(self, uri: str, etag: str | None, start: int, length: int) -> bytes:
        """See `Store.read_range`."""
        with _read_errors(), _ListedFile(uri, etag) as file:
            file.seek(start)
            return _read(file, length)

    def open(self, uri: str, etag: str | None) -> BinaryIO:
        """See `Store.open`."""
        with _read_errors():
            return io.BufferedReader(_ListedFile(uri, etag))


@contextmanager
def _read_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ImageError(Reason.FETCH_FAILED, error.strerror or str(error)) from error
    except ValueError as error:  # a NUL byte in the name
        raise ImageError(Reason.FETCH_FAILED, str(error)) from error


def _path(uri: str) -> bytes:
    return unquote_to_bytes(urlsplit(uri).path)


class _ListedFile(io.FileIO):
    """A regular file that stays as it was listed, or when it was opened if `etag` is None.

    Reads raise `ImageError` once the file has changed.
    """

    def __init__(self, uri: str, etag: str | None) -> None:
        path = _path(uri)
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            os.listdir(path)  # raises the reason why it could not be listed
            raise ImageError(Reason.FETCH_FAILED, "the folder could not be listed")
        if not stat.S_ISREG(mode):  # opening a pipe could block forever
            raise ImageError(Reason.FETCH_FAILED, "is a device, pipe or socket, not a file")
        super().__init__(path)
        status = os.fstat(self.fileno())
        self.size_bytes = status.st_size
        self._etag = etag or local_etag(status)
        try:
            self._check()
        except ImageError:
            self.close()
            raise

    def _check(self) -> None:
        if local_etag(os.fstat(self.fileno())) != self._etag:
            raise ImageError(Reason.FETCH_FAILED, "the file changed since it was listed")

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """See `io.RawIOBase`."""
        length = super().readinto(buffer)
        self._check()
        return length

    def read(self, size: int = -1) -> bytes:  # type: ignore[override]
        """See `io.RawIOBase`."""
        content = super().read(size)
        self._check()
        return content

    def readall(self) -> bytes:
        """See `io.RawIOBase`."""
        content = super().readall()
        self._check()
        return content


def _read(file: io.FileIO, length: int) -> bytes:
    """Reads `length` bytes if there are as many; one unbuffered read may return fewer."""
    chunks = []
    while length > 0 and (chunk := file.read(length)):
        chunks.append(chunk)
        length -= len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
