"""Finds keys that occur more than once, in bounded memory: digests of all keys lie on disk."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["KeyDigests"]

_NUM_PARTS = 64  # a billion keys: 8 GB on disk, 125 MB in memory


class KeyDigests:
    """64-bit digests of keys in temporary files, by their lowest bits."""

    def __init__(self) -> None:
        with ExitStack() as files:
            self._parts = [files.enter_context(tempfile.TemporaryFile()) for _ in range(_NUM_PARTS)]
            self._files = files.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._files.close()

    def add(self, space: str, keys: pa.Array) -> None:
        """Adds some keys; those of `shards` are names of shards and no keys of images."""
        digests = _digests(space, keys)
        for number, part in enumerate(self._parts):
            part.write(digests[digests % _NUM_PARTS == number].tobytes())

    def repeated(self, batches: Iterable[tuple[str, pa.Array]]) -> Iterator[tuple[str, list[str]]]:
        """Keys that were added more than once, with the tables that hold them.

        Args:
            batches: the same keys again; taken only if there may be repetitions.
        """
        suspects = np.concatenate([self._repeated_in(n) for n in range(_NUM_PARTS)])
        if not len(suspects):
            return
        places: dict[tuple[bool, str], list[str]] = {}
        for table, keys in batches:
            for key in keys.filter(pa.array(np.isin(_digests(table, keys), suspects))).to_pylist():
                places.setdefault((table == "shards", key), []).append(table)
        for (_, key), tables in places.items():
            if len(tables) > 1:
                yield key, tables

    def _repeated_in(self, number: int) -> NDArray[np.int64]:
        part = self._parts[number]
        part.seek(0)
        digests = np.frombuffer(part.read(), dtype=np.int64)
        values, counts = np.unique(digests, return_counts=True)
        return values[counts > 1]


def _digests(table: str, keys: pa.Array) -> NDArray[np.int64]:
    is_shard = table == "shards"
    return np.fromiter(((hash((is_shard, key))) for key in keys.to_pylist()), np.int64, len(keys))
