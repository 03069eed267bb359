"""Reads local files by `file://` URI; names may hold any bytes."""

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
        """See `Store.read`; notices a change during the read, but none since the listing."""
        with _read_errors(), _open(uri) as stream:
            before = os.fstat(stream.fileno())
            if before.st_size > max_bytes:
                raise too_large(before.st_size, max_bytes)
            # Files in /proc declare no size. One byte more than declared reveals growth.
            content = _read(stream, (before.st_size or max_bytes) + 1)
            after = os.fstat(stream.fileno())
        if len(content) > max_bytes:
            raise too_large(len(content), max_bytes)
        is_same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        if not is_same or (before.st_size and len(content) != before.st_size):
            raise ImageError(Reason.FETCH_FAILED, "changed while it was read")
        return content

    def read_range(self, uri: str, etag: str | None, start: int, length: int) -> bytes:
        """See `Store.read_range`."""
        with _read_errors(), _open(uri) as stream:
            stream.seek(start)
            return _read(stream, length)

    def open(self, uri: str, etag: str | None) -> BinaryIO:
        """See `Store.open`."""
        with _read_errors():
            return _open(uri, buffering=8192)


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


def _open(uri: str, buffering: int = 0) -> BinaryIO:
    """Opens a regular file; opening a pipe could block for ever."""
    path = _path(uri)
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        os.listdir(path)  # raises the reason why it could not be listed
        raise ImageError(Reason.FETCH_FAILED, "the folder could not be listed")
    if not stat.S_ISREG(mode):
        raise ImageError(Reason.FETCH_FAILED, "is a device, pipe or socket, not a file")
    return open(path, "rb", buffering=buffering)


def _read(stream: BinaryIO, length: int) -> bytes:
    """Reads `length` bytes if there are as many; one unbuffered read may return fewer."""
    chunks = []
    while length > 0 and (chunk := stream.read(length)):
        chunks.append(chunk)
        length -= len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
