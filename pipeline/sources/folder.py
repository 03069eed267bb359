"""A local folder, walked recursively in order of keys.

Every file counts as an image of the archive, whatever it is called, so that none is lost for its
name; what is no picture ends as a dead letter. Left out are hidden files (a leading dot) and the
thumbnail caches of file managers.
"""

import logging
import os
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from pipeline.errors import ImageError, Reason, UsageError
from pipeline.records import ImageRecord

__all__ = ["FolderFetcher", "FolderSource"]

logger = logging.getLogger(__name__)

_NOT_OF_THE_ARCHIVE = {"Thumbs.db", "desktop.ini"}


def _text(name: bytes) -> str:
    """A file name as UTF-8 text; one that is none gets its odd bytes spelled out, and a digest.

    The digest keeps it apart from a file whose name really has those characters.
    """
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return f"{name.decode('utf-8', 'backslashreplace')}~{zlib.crc32(name):08x}"


def _uri(path: bytes) -> str:
    return "file://" + quote_from_bytes(path)


class FolderFetcher:
    """Reads local files by their URI."""

    def fetch(self, uri: str, max_bytes: int) -> bytes:
        """The content of a file; see `Fetcher.fetch`."""
        path = unquote_to_bytes(urlsplit(uri).path)
        try:
            status = os.stat(path)
            if stat.S_ISDIR(status.st_mode):
                os.listdir(path)  # says why it could not be listed
                raise ImageError(Reason.FETCH_FAILED, "the folder could not be listed")
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(Reason.FETCH_FAILED, "is no file but a device, pipe or socket")
            if status.st_size > max_bytes:
                raise ImageError(
                    Reason.TOO_LARGE, f"{status.st_size} bytes, at most {max_bytes} are read"
                )
            with open(path, "rb") as stream:
                return stream.read(max_bytes)
        except ValueError as error:  # no file system has a name with a NUL byte
            raise ImageError(Reason.FETCH_FAILED, str(error)) from error
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
        if not os.access(path, os.R_OK | os.X_OK):
            raise UsageError(f"input: cannot read {location}: permission denied")
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
                entries = [(entry, _is_folder(entry)) for entry in scan]
        except OSError as error:
            # What lies in it is unknown, so it must not pass in silence: a dead letter will tell.
            logger.warning("cannot list %s: %s", _text(folder), error.strerror)
            yield ImageRecord(key=prefix, uri=_uri(folder), size_bytes=0)
            return
        # With its slash a folder sorts where its files' keys belong: "a-b" before "a/b".
        named = sorted(
            (
                (_text(entry.name) + "/" * is_folder, entry, is_folder)
                for entry, is_folder in entries
            ),
            key=lambda item: item[0],
        )
        for name, entry, is_folder in named:
            if name.startswith(".") or name in _NOT_OF_THE_ARCHIVE or entry.path == self._exclude:
                continue
            if is_folder:
                yield from self._walk(entry.path, prefix + name, (*ancestors, identity))
                continue
            try:
                status = entry.stat()
                if not stat.S_ISREG(status.st_mode):
                    continue  # a socket, a pipe, a device: reading it might never end
                size = status.st_size
            except OSError:
                size = 0  # a dangling link or a vanished file: fetching it will tell
            yield ImageRecord(key=prefix + name, uri=_uri(entry.path), size_bytes=size)


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    """Whether to walk into it; what cannot be asked counts as a file, and fetching will tell."""
    try:
        return entry.is_dir()
    except OSError:
        return False
