"""Image keys: UTF-8, `/`-separated, unique in an archive."""

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

from pipeline.records import ImageRecord
from pipeline.sources.patterns import KeyFilter

__all__ = ["SeenKeys", "as_text", "safe_path", "with_unique_keys"]

_PENDING = 4096


def as_text(name: bytes) -> str:
    """A file name as UTF-8 text.

    Invalid bytes are escaped and a digest is appended. Another name may still be spelled like the
    result, so keys go through `with_unique_keys`.
    """
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return f"{name.decode('utf-8', 'backslashreplace')}~{zlib.crc32(name):08x}"


def safe_path(name: str) -> str:
    """A relative path without `..`: `/a/../b` becomes `a/%2E%2E/b`."""
    parts = (part for part in name.split("/") if part not in ("", "."))
    return "/".join("%2E%2E" if part == ".." else part for part in parts)


def with_unique_keys(
    images: Iterable[ImageRecord], patterns: KeyFilter | None = None
) -> Iterator[ImageRecord]:
    """Gives each image a key of its own, and selects images by key.

    An image whose key is taken gets the first free one of its `other_keys`, or else of KEY~2,
    KEY~3, ... Keys depend on the order of the images alone, not on the patterns.

    Args:
        images: in the same order on every run.
        patterns: select images by `key` or one of `other_keys`.
    """
    accepts = (patterns or KeyFilter()).accepts
    seen = SeenKeys()
    for image in images:
        numbered = (f"{image.key}~{number}" for number in count(2))
        key = seen.first_new(chain((image.key,), image.other_keys, numbered))
        if accepts(key, *image.other_keys):
            is_final = key == image.key and not image.other_keys
            yield image if is_final else replace(image, key=key, other_keys=())


class SeenKeys:
    """A set of keys that holds 8 bytes a key: 10 million keys take 80 MB.

    It holds digests of 64 bits. If two keys share one (1 pair in 10^19), the second key is taken
    for a repetition, which only makes its name longer.
    """

    def __init__(self) -> None:
        self._pending: set[int] = set()
        self._sorted: list[NDArray[np.int64]] = []

    def first_new(self, candidates: Iterable[str]) -> str:
        """Adds the first candidate that is not in the set, and returns it.

        Args:
            candidates: at least one is new.
        """
        for key in candidates:
            digest = _digest(key)
            if not self._has(digest):
                self._pending.add(digest)
                if len(self._pending) == _PENDING:
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
        """Merges arrays of similar length, so that their number stays logarithmic."""
        newest = np.sort(np.fromiter(self._pending, np.int64, len(self._pending)))
        self._pending = set()
        while self._sorted and len(self._sorted[-1]) <= len(newest):
            newest = np.sort(np.concatenate([self._sorted.pop(), newest]))
        self._sorted.append(newest)


def _digest(key: str) -> int:
    """Equal on every machine, unlike `hash`, and so are the names of repeated keys."""
    content = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(content, "little", signed=True)
