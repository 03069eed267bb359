"""A local folder, walked recursively in order of keys.

Every file counts as an image of the archive, whatever it is called, so that none is lost for its
name; what is no picture ends as a dead letter. Left out are hidden files (a leading dot) and the
thumbnail caches of file managers.
"""

import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.records import ImageRecord
from pipeline.sources.base import NOTHING_KEPT
from pipeline.sources.names import as_text, is_hidden
from pipeline.sources.patterns import Glob
from pipeline.storage.local_files import file_uri

__all__ = ["FolderSource"]

logger = logging.getLogger(__name__)


class FolderSource:
    """The files below one folder.

    Args:
        root: the folder, resolved.
        exclude: a folder below it to leave out.
        globs: which files below it, those that fit any; none for all.
    """

    kept = NOTHING_KEPT

    def __init__(
        self, root: Path, exclude: Path | None = None, globs: tuple[Glob, ...] = ()
    ) -> None:
        self.root = root
        self._globs = globs
        self._exclude = None if exclude is None else os.fsencode(exclude)

    @classmethod
    def open(
        cls, location: str, exclude: Path | None = None, globs: tuple[Glob, ...] = ()
    ) -> "FolderSource":
        """The source for a path given by a person.

        Raises:
            UsageError: it does not exist or is no folder.
        """
        path = Path(location).expanduser()
        if not path.exists():
            raise UsageError(f"input: no such folder: {location}")
        if not path.is_dir():
            raise UsageError(f"input: must be a folder (got a file: {location})")
        if not os.access(path, os.R_OK | os.X_OK):
            raise UsageError(f"input: cannot read {location}: permission denied")
        return cls(path.resolve(), None if exclude is None else exclude.resolve(), globs)

    def list_images(self) -> Iterator[ImageRecord]:
        """All images with ascending keys; one directory's names are held at a time."""
        yield from self._walk(os.fsencode(self.root), "", ())

    def count_images(self) -> int:
        """Walks the whole tree."""
        return sum(1 for _ in self.list_images())

    def _walk(
        self, folder: bytes, prefix: str, ancestors: tuple[tuple[int, int], ...]
    ) -> Iterator[ImageRecord]:
        try:
            status = os.stat(folder)
            identity = (status.st_dev, status.st_ino)
            if identity in ancestors:
                logger.warning("left out %s: a link back to a folder above it", as_text(folder))
                return
            with os.scandir(folder) as scan:
                entries = [(entry, _is_folder(entry)) for entry in scan]
        except OSError as error:
            # What lies in it is unknown, so it must not pass in silence: a dead letter will tell.
            logger.warning("cannot list %s: %s", as_text(folder), error.strerror)
            yield ImageRecord(key=prefix, uri=file_uri(folder), size_bytes=0)
            return
        # With its slash a folder sorts where its files' keys belong: "a-b" before "a/b".
        named = sorted(
            (
                (as_text(entry.name) + "/" * is_folder, entry, is_folder)
                for entry, is_folder in entries
            ),
            key=lambda item: item[0],
        )
        for name, entry, is_folder in named:
            if is_hidden(name) or entry.path == self._exclude:
                continue
            if is_folder:
                if self._takes(prefix + name, Glob.may_match_below):
                    yield from self._walk(entry.path, prefix + name, (*ancestors, identity))
                continue
            if not self._takes(prefix + name, Glob.matches):
                continue
            try:
                status = entry.stat()
                # Of a dangling link, a vanished file, a pipe or a device, fetching will tell.
                size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            except OSError:
                size = 0
            yield ImageRecord(key=prefix + name, uri=file_uri(entry.path), size_bytes=size)

    def _takes(self, path: str, fits: Callable[[Glob, str], bool]) -> bool:
        return not self._globs or any(fits(glob, path) for glob in self._globs)


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    """Whether to walk into it; what cannot be asked counts as a file, and fetching will tell."""
    try:
        return entry.is_dir()
    except OSError:
        return False
