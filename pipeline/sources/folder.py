"""A local folder, walked in the order of keys.

Every file is an image of the archive whatever its name; one that is no image becomes a dead letter.
Hidden files, caches, recycle bins and outputs of dvt are left out.
"""

import logging
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.records import ImageRecord
from pipeline.sources.base import Source
from pipeline.sources.keys import as_text
from pipeline.sources.left_out import LeftOut, is_hidden, is_output
from pipeline.sources.patterns import Glob
from pipeline.storage.local_files import file_uri, local_etag

__all__ = ["FolderSource"]

logger = logging.getLogger(__name__)

_Identity = tuple[int, int]


class FolderSource(Source):
    """The files below one folder.

    Links to folders are followed, and each folder is visited once: at its own place if that is
    listed, else at the first link to it.

    Args:
        location: path of the folder, as the user gave it.
        exclude: a folder below it to skip, by whatever path it is reached.
        globs: files must match one of them; none for all files.
        all_files: leave nothing out.

    Raises:
        UsageError: the folder does not exist, is a file, or is not readable.
    """

    def __init__(
        self,
        location: str | Path,
        exclude: Path | None = None,
        globs: tuple[Glob, ...] = (),
        *,
        all_files: bool = False,
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
        self._exclude = exclude
        self._left_out = LeftOut(all_files)
        self._all_files = all_files
        self._skipped: set[bytes] = set()

    def list_images(self) -> Iterator[ImageRecord]:
        """See `Source.list_images`; holds the names of one directory a level."""
        self._left_out.start()
        visited: set[_Identity] = set()
        walks = [self._entries(os.fsencode(self.root), "", visited)]
        while walks:
            found = next(walks[-1], None)
            if found is None:
                walks.pop()
            elif isinstance(found, ImageRecord):
                yield found
            else:
                walks.append(self._entries(*found, visited))
        self._left_out.log(as_text(os.fsencode(self.root)))

    def _entries(
        self, folder: bytes, prefix: str, visited: set[_Identity]
    ) -> Iterator[ImageRecord | tuple[bytes, str]]:
        """The files of one folder, and the folders to descend into, with their prefixes."""
        try:
            identity = _identity(os.stat(folder))
            if identity in visited or (prefix and identity == self._excluded()):
                return
            visited.add(identity)
            with os.scandir(folder) as scan:
                entries = [(entry, _is_folder(entry)) for entry in scan]
        except OSError as error:
            # Listed as an image, so that the unknown content shows up as a dead letter.
            logger.warning("cannot list %s: %s", as_text(folder), error.strerror)
            yield ImageRecord(key=prefix, uri=file_uri(folder), size_bytes=0)
            return
        if prefix and is_output({as_text(entry.name) for entry, _ in entries}):
            if folder not in self._skipped:
                logger.info("skipped %s: an output of dvt", as_text(folder))
                self._skipped.add(folder)
            return
        # The slash sorts a folder by its files' keys: "a-b" before "a/b".
        named = [(as_text(entry.name) + "/" * is_dir, entry) for entry, is_dir in entries]
        for name, entry in sorted(named, key=lambda item: (item[0], item[1].name)):
            path = prefix + name
            if self._left_out.hides(path):
                continue
            if name.endswith("/"):
                matches = self._matches(path, Glob.may_match_below)
                if matches and not (entry.is_symlink() and self._is_listed(entry.path)):
                    yield entry.path, path
            elif self._matches(path, Glob.matches):
                yield ImageRecord(path, file_uri(entry.path), *_size_and_etag(entry))

    def _excluded(self) -> _Identity | None:
        try:
            return None if self._exclude is None else _identity(os.stat(self._exclude))
        except OSError:  # not created yet
            return None

    def _is_listed(self, link: bytes) -> bool:
        """Whether the folder that a link leads to is listed at its own place."""
        target, root = os.path.realpath(link), os.fsencode(self.root)
        if target != root and not target.startswith(root.rstrip(b"/") + b"/"):
            return False
        path = as_text(target[len(root) :].lstrip(b"/")) + "/"
        is_taken = self._all_files or not is_hidden(path)
        return is_taken and self._matches(path, Glob.may_match_below)

    def _matches(self, path: str, match: Callable[[Glob, str], bool]) -> bool:
        return not self._globs or any(match(glob, path) for glob in self._globs)


def _identity(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino


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
