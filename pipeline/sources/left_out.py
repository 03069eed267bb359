"""Files that archives leave out unless `--all-files`: hidden ones, caches and recycle bins."""

import logging
from collections import Counter

from pipeline.units import counted

__all__ = ["LeftOut", "is_hidden", "is_output"]

logger = logging.getLogger(__name__)

_CACHES_AND_BINS = {
    # Windows, macOS, Linux
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "recycler"),
    *("system volume information", "__macosx", "lost+found"),
    # Synology, QNAP, other NAS
    *("@eadir", "@__thumb", "@tmp", "@recycle", "#recycle", "#snapshot"),
    "picasa.ini",
}
_PHOTOS_LIBRARIES = (".photoslibrary", ".photolibrary", ".migratedphotolibrary")
_PHOTOS_ORIGINALS = {"originals", "masters"}
_MAX_NAMES = 10
_HIDDEN = ".*"


def is_hidden(path: str) -> bool:
    """Whether a component starts with a dot, or is a cache or recycle bin, in any spelling.

    Args:
        path: of a file, or of a folder with a slash at its end.
    """
    return _hidden_part(path) is not None


def _hidden_part(path: str) -> str | None:
    """The first component for which a file is left out."""
    parts = path.split("/")
    for part, below in zip(parts, [*parts[1:], ""], strict=True):
        name = part.casefold()
        is_in_library = name.endswith(_PHOTOS_LIBRARIES) and below != ""
        if (
            (name.startswith(".") and name not in (".", ".."))
            or name in _CACHES_AND_BINS
            or name.endswith(".lrdata")
            or (is_in_library and below.casefold() not in _PHOTOS_ORIGINALS)
        ):
            return part
    return None


def is_output(names: set[str]) -> bool:
    """Whether a folder is an output of dvt.

    Args:
        names: of the entries of the folder, without slashes.
    """
    return {"tags", "shards"} <= names and bool(names & {"run.json", ".runs"})


class LeftOut:
    """Decides what a listing leaves out, and counts what users may miss.

    Args:
        all_files: leave nothing out.
    """

    def __init__(self, all_files: bool = False) -> None:
        self._all_files = all_files
        self._count: Counter[str] = Counter()
        self._has_logged = False

    def start(self) -> None:
        """Begins to count: an archive is looked into before it is listed."""
        self._count.clear()

    def hides(self, path: str) -> bool:
        """Whether a file or folder is left out; see `is_hidden`."""
        part = None if self._all_files else _hidden_part(path)
        if part is not None:
            self._count[_HIDDEN if part.startswith(".") else part] += 1
        return part is not None

    def log(self, where: str) -> None:
        """Logs once how many were left out.

        Args:
            where: the listing, for the message.
        """
        if self._count and not self._has_logged:
            names = ", ".join(sorted(self._count)[:_MAX_NAMES])
            number = counted(self._count.total(), "file or folder", "files and folders")
            logger.info("%s: left out %s (%s); --all-files takes them", where, number, names)
            self._has_logged = True
