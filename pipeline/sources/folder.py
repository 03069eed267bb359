"""A local folder, walked recursively in order of keys.

Every file counts as an image of the archive, whatever it is called, so that none is lost for its
name; what is no picture ends as a dead letter. Left out are hidden files (a leading dot) and the
thumbnail caches of file managers.
"""

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from pipeline.errors import ImageError, Reason, UsageError
from pipeline.records import ImageRecord

__all__ = ["FolderFetcher", "FolderSource"]

logger = logging.getLogger(__name__)

_NOT_OF_THE_ARCHIVE = {"Thumbs.db", "desktop.ini"}


def _text(name: bytes) -> str:
    """A file name as UTF-8 text; bytes that are none are written as %XX."""
    return name.decode("utf-8", "backslashreplace").replace("\\x", "%")


class FolderFetcher:
    """Reads local files by their URI."""

    def fetch(self, uri: str, max_bytes: int) -> bytes:
        """The content of a file; see `Fetcher.fetch`."""
        path = unquote_to_bytes(urlsplit(uri).path)
        try:
            size = os.stat(path).st_size
            if size > max_bytes:
                raise ImageError(Reason.TOO_LARGE, f"{size} bytes, at most {max_bytes} are read")
            with open(path, "rb") as stream:
                return stream.read(max_bytes)
        except OSError as error:
            raise ImageError(Reason.FETCH_FAILED, error.strerror or str(error)) from error


class FolderSource:
    """The files below one folder.

    Args:
        root: the folder, resolved.
        exclude: a folder below it to leave out.
    """

    def __init__(self, root: Path, exclude: Path | None = None) -> None:
        self.root = root
        self.name = root.as_uri()
        self.fetcher = FolderFetcher()
        self._exclude = None if exclude is None else os.fsencode(exclude)

    @classmethod
    def open(cls, location: str, exclude: Path | None = None) -> "FolderSource":
        """The source for a path given by a person.

        Raises:
            UsageError: it does not exist or is no folder.
        """
        path = Path(location).expanduser()
        if not path.exists():
            raise UsageError(f"input: no such folder: {location}")
        if not path.is_dir():
            raise UsageError(f"input: must be a folder of images (got a file: {location})")
        return cls(path.resolve(), None if exclude is None else exclude.resolve())

    def list_images(self) -> Iterator[ImageRecord]:
        """All images with ascending keys; one directory's names are held at a time."""
        yield from self._walk(os.fsencode(self.root), "", ())

    def _walk(
        self, folder: bytes, prefix: str, ancestors: tuple[tuple[int, int], ...]
    ) -> Iterator[ImageRecord]:
        try:
            status = os.stat(folder)
            identity = (status.st_dev, status.st_ino)
            if identity in ancestors:
                logger.warning("left out %s: a link back to a folder above it", _text(folder))
                return
            with os.scandir(folder) as scan:
                entries = [(entry, entry.is_dir()) for entry in scan]
        except OSError as error:
            logger.warning("cannot list %s: %s", _text(folder), error.strerror)
            return
        # With its slash a folder sorts where its files' keys belong: "a-b" before "a/b".
        named = sorted(
            ((_text(e.name) + "/" * is_dir, e, is_dir) for e, is_dir in entries),
            key=lambda item: item[0],
        )
        for name, entry, is_dir in named:
            if name.startswith(".") or name in _NOT_OF_THE_ARCHIVE or entry.path == self._exclude:
                continue
            if is_dir:
                yield from self._walk(entry.path, prefix + name, (*ancestors, identity))
                continue
            try:
                status = entry.stat()
                if not stat.S_ISREG(status.st_mode):
                    continue  # a socket, a pipe, a device: reading it might never end
                size = status.st_size
            except OSError:
                size = 0  # a dangling link or a vanished file: fetching it will tell
            uri = "file://" + quote_from_bytes(entry.path)
            yield ImageRecord(key=prefix + name, uri=uri, size_bytes=size)
