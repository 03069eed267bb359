"""Names of files as keys: always UTF-8, `/`-separated, never the same for two images."""

import hashlib
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["SeenKeys", "as_text", "is_hidden", "safe_path"]

_NOT_OF_THE_ARCHIVE = {"Thumbs.db", "desktop.ini"}


def as_text(name: bytes) -> str:
    """A file name as UTF-8 text; one that is none gets its odd bytes spelled out, and a digest.

    The digest keeps it apart from a file whose name really has those characters.
    """
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return f"{name.decode('utf-8', 'backslashreplace')}~{zlib.crc32(name):08x}"


def is_hidden(path: str) -> bool:
    """Hidden files and folders (a leading dot) and file managers' caches are no images."""
    return any(
        part in _NOT_OF_THE_ARCHIVE or (part.startswith(".") and part not in (".", ".."))
        for part in path.split("/")
    )


def safe_path(name: str) -> str:
    """A relative path that leads nowhere but down: `/a/../b` is `a/%2E%2E/b`."""
    parts = (part for part in name.split("/") if part not in ("", "."))
    return "/".join("%2E%2E" if part == ".." else part for part in parts)


class SeenKeys:
    """Which keys there were, as digests of 64 bits: 8 bytes a key, so that 10 million fit in 80 MB.

    Two keys with one digest, one pair in about 10^19, only make the second one's name longer.
    """

    _PENDING = 4096

    def __init__(self) -> None:
        self._pending: set[int] = set()
        self._sorted: list[NDArray[np.int64]] = []

    def first_new(self, candidates: Iterable[str]) -> str:
        """The first of these keys that was not there before, which is so from now on.

        Args:
            candidates: at least one of them new.
        """
        for key in candidates:
            digest = _digest(key)
            if not self._has(digest):
                self._pending.add(digest)
                if len(self._pending) == self._PENDING:
                    self._merge()
                return key
        raise AssertionError("every candidate was taken")

    def _has(self, digest: int) -> bool:
        if digest in self._pending:
            return True
        for known in self._sorted:
            position = int(np.searchsorted(known, digest))
            if position < len(known) and known[position] == digest:
                return True
        return False

    def _merge(self) -> None:
        """Joins arrays of like size, so that there are few of them."""
        newest = np.sort(np.fromiter(self._pending, np.int64, len(self._pending)))
        self._pending = set()
        while self._sorted and len(self._sorted[-1]) <= len(newest):
            newest = np.sort(np.concatenate([self._sorted.pop(), newest]))
        self._sorted.append(newest)


def _digest(key: str) -> int:
    """The same on every machine, unlike `hash`, so that the names of repeated keys are too."""
    content = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(content, "little", signed=True)
