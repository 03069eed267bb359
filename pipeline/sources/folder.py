"""A local folder, walked recursively in the order of keys.

Every file is an image of the archive whatever its name; one that is no image becomes a dead letter.
Hidden files and caches of file managers are skipped.
"""

import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.records import ImageRecord
from pipeline.sources.base import Source
from pipeline.sources.keys import as_text, is_hidden
from pipeline.sources.patterns import Glob
from pipeline.storage.local_files import file_uri, local_etag

__all__ = ["FolderSource"]

logger = logging.getLogger(__name__)


class FolderSource(Source):
    """The files below one folder.

    Args:
        location: path of the folder, as the user gave it.
        exclude: a folder below it to skip.
        globs: files must match one of them; none for all files.

    Raises:
        UsageError: the folder does not exist, is a file, or is not readable.
    """

    def __init__(
        self, location: str | Path, exclude: Path | None = None, globs: tuple[Glob, ...] = ()
    ) -> None:
        path = Path(location).expanduser()
        if not path.exists():
            raise UsageError(f"input: no such folder: {location}")
        if not path.is_dir():
            raise UsageError(f"input: must be a folder (got a file: {location})")
        if not os.access(path, os.R_OK | os.X_OK):
            raise UsageError(f"input: cannot read {location}: permission denied")
        self.root = path.resolve()
        self._globs = globs
        self._exclude = None if exclude is None else os.fsencode(exclude.resolve())

    def list_images(self) -> Iterator[ImageRecord]:
        """See `Source.list_images`; holds the names of one directory at a time."""
        yield from self._walk(os.fsencode(self.root), "", ())

    def _walk(
        self, folder: bytes, prefix: str, ancestors: tuple[tuple[int, int], ...]
    ) -> Iterator[ImageRecord]:
        try:
            status = os.stat(folder)
            identity = (status.st_dev, status.st_ino)
            if identity in ancestors:
                logger.warning("skipped %s: a link to a folder above it", as_text(folder))
                return
            with os.scandir(folder) as scan:
                entries = [(entry, _is_folder(entry)) for entry in scan]
        except OSError as error:
            # Listed as an image, so that the unknown content shows up as a dead letter.
            logger.warning("cannot list %s: %s", as_text(folder), error.strerror)
            yield ImageRecord(key=prefix, uri=file_uri(folder), size_bytes=0)
            return
        # The slash sorts a folder by its files' keys: "a-b" before "a/b".
        named = [(as_text(entry.name) + "/" * is_dir, entry) for entry, is_dir in entries]
        for name, entry in sorted(named, key=lambda item: (item[0], item[1].name)):
            if is_hidden(name) or entry.path == self._exclude:
                continue
            if name.endswith("/"):
                if self._matches(prefix + name, Glob.may_match_below):
                    yield from self._walk(entry.path, prefix + name, (*ancestors, identity))
            elif self._matches(prefix + name, Glob.matches):
                yield ImageRecord(prefix + name, file_uri(entry.path), *_size_and_etag(entry))

    def _matches(self, path: str, match: Callable[[Glob, str], bool]) -> bool:
        return not self._globs or any(match(glob, path) for glob in self._globs)


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    """Whether to descend; an entry whose type is unknown counts as a file that cannot be read."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _size_and_etag(entry: os.DirEntry[bytes]) -> tuple[int, str | None]:
    """Of a regular file; 0 and None for what cannot be read: a dangling link, a pipe, a device."""
    try:
        status = entry.stat()
    except OSError:
        return 0, None
    return (status.st_size, local_etag(status)) if stat.S_ISREG(status.st_mode) else (0, None)
