"""Files on the local disk, by `file://` URIs that may hold any bytes a name can."""

import os
import stat
from typing import BinaryIO
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from pipeline.errors import ImageError, Reason
from pipeline.sources.stores import FileStatus

__all__ = ["LocalFiles", "file_uri", "read_file", "too_large"]


def file_uri(path: bytes) -> str:
    """The URI of an absolute path."""
    return "file://" + quote_from_bytes(path)


def read_file(uri: str, max_bytes: int) -> bytes:
    """The content of a local file.

    Raises:
        ImageError: it cannot be had (`fetch_failed`), or is longer than `max_bytes`.
    """
    return LocalFiles().read(uri, None, max_bytes)


class LocalFiles:
    """See `Store`; local files have no etag."""

    def status(self, uri: str) -> FileStatus | None:
        """See `Store.status`."""
        try:
            return FileStatus(os.stat(_path(uri)).st_size)
        except (OSError, ValueError):
            return None

    def read(self, uri: str, status: FileStatus | None, max_bytes: int) -> bytes:
        """See `Store.read`; what is there now counts, unless it changes while it is read."""
        try:
            with _opened(uri) as stream:
                before = os.fstat(stream.fileno())
                if before.st_size > max_bytes:
                    raise too_large(before.st_size, max_bytes)
                # Files of the kernel declare no size; reading on for one byte tells of growth.
                wanted = (before.st_size or max_bytes) + 1
                content = _read(stream, wanted)
                after = os.fstat(stream.fileno())
        except OSError as error:
            raise ImageError(Reason.FETCH_FAILED, error.strerror or str(error)) from error
        if len(content) > max_bytes:
            raise too_large(len(content), max_bytes)
        same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
        if not same or (before.st_size and len(content) != before.st_size):
            raise ImageError(Reason.FETCH_FAILED, "changed while it was read")
        return content

    def read_range(self, uri: str, etag: str | None, start: int, length: int) -> bytes:
        """See `Store.read_range`."""
        try:
            with _opened(uri) as stream:
                stream.seek(start)
                return _read(stream, length)
        except OSError as error:
            raise ImageError(Reason.FETCH_FAILED, error.strerror or str(error)) from error

    def open(self, uri: str, etag: str | None) -> BinaryIO:
        """See `Store.open`."""
        try:
            return _opened(uri, buffering=8192)
        except OSError as error:
            raise ImageError(Reason.FETCH_FAILED, error.strerror or str(error)) from error


def too_large(size_bytes: int, max_bytes: int) -> ImageError:
    """The error for content that is longer than may be read."""
    return ImageError(Reason.TOO_LARGE, f"{size_bytes} bytes, at most {max_bytes} are read")


def _path(uri: str) -> bytes:
    return unquote_to_bytes(urlsplit(uri).path)


def _opened(uri: str, buffering: int = 0) -> BinaryIO:
    """A regular file; what might be endless, such as a pipe, is not even opened."""
    path = _path(uri)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            os.listdir(path)  # says why it could not be listed
            raise ImageError(Reason.FETCH_FAILED, "the folder could not be listed")
        if not stat.S_ISREG(mode):
            raise ImageError(Reason.FETCH_FAILED, "is no file but a device, pipe or socket")
        return open(path, "rb", buffering=buffering)
    except ValueError as error:  # no file system has a name with a NUL byte
        raise ImageError(Reason.FETCH_FAILED, str(error)) from error


def _read(stream: BinaryIO, length: int) -> bytes:
    """Unbuffered reads may give less than is there."""
    pieces = []
    while length > 0 and (piece := stream.read(length)):
        pieces.append(piece)
        length -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
