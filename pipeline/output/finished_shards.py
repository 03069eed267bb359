"""The finished shards of earlier runs by name, in about 85 bytes a shard.

An archive of a billion images has a million shards, so this takes 85 MB for it, and a few hundred
more if content has changed, because the ranges of their keys are then needed too.
"""

from bisect import bisect_left, bisect_right
from itertools import accumulate

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.output.counts import Counts

__all__ = ["FinishedShards", "KeyRanges"]


class FinishedShards:
    """Rows of the `shards` table, and which of them the listing has passed.

    Args:
        rows: with `shard`, `exits`, `num_dead_letters`, `num_other_files`, `copies`.
        num_stages: of the cascade.
    """

    def __init__(self, rows: pa.Table, num_stages: int) -> None:
        names = np.array(rows["shard"].to_numpy(zero_copy_only=False), dtype=np.bytes_)
        order = np.argsort(names, kind="stable")
        self._names = names[order]
        self._exits = _matrix(rows["exits"], num_stages)[order]
        self._copies = _matrix(rows["copies"], num_stages)[order]
        self._num_dead_letters = rows["num_dead_letters"].to_numpy()[order]
        self._num_other_files = rows["num_other_files"].to_numpy()[order]
        self._is_listed = np.zeros(len(names), dtype=np.bool_)
        self._is_superseded = np.zeros(len(names), dtype=np.bool_)

    def __len__(self) -> int:
        return len(self._names)

    def index(self, name: str) -> int | None:
        """Position of a shard among the finished ones; None if it is not finished."""
        index = int(np.searchsorted(self._names, name.encode()))
        if index == len(self._names) or self._names[index] != name.encode():
            return None
        return None if self._is_superseded[index] else index

    def supersede(self, names: list[str]) -> list[str]:
        """Those of the shards that are finished and unlisted; they count as finished no more."""
        found = []
        for name in names:
            index = self.index(name)
            if index is not None and not self._is_listed[index]:
                self._is_superseded[index] = True
                found.append(name)
        return found

    def indices(self, names: pa.ChunkedArray) -> NDArray[np.int64]:
        """The same for n names, -1 for shards that are not finished, [n]."""
        if not len(self._names):
            return np.full(len(names), -1)
        wanted = np.array(names.to_numpy(zero_copy_only=False), dtype=np.bytes_)
        indices = np.minimum(np.searchsorted(self._names, wanted), len(self._names) - 1)
        return np.where(self._names[indices] == wanted, indices, -1)

    def num_tagged(self, index: int) -> int:
        """Tagged images of the shard at an `index`."""
        return int(self._exits[index].sum())

    def take_listed(self, name: str) -> Counts | None:
        """A copy of the results of a listed shard; None if it is not finished."""
        index = self.index(name)
        if index is None:
            return None
        self._is_listed[index] = True
        return Counts(
            self._exits[index].copy(),
            int(self._num_dead_letters[index]),
            self._copies[index].copy(),
            int(self._num_other_files[index]),
        )

    def unlisted(self) -> list[str]:
        """Names of the shards that the listing has not passed."""
        is_unlisted = ~(self._is_listed | self._is_superseded)
        return [name.decode() for name in self._names[is_unlisted].tolist()]


class KeyRanges:
    """The least and the greatest key of shards.

    Args:
        rows: with `shard`, `first_key`, `last_key`.
    """

    def __init__(self, rows: pa.Table) -> None:
        rows = rows.sort_by("first_key")
        self._names: list[str] = rows["shard"].to_pylist()
        self._first: list[str] = rows["first_key"].to_pylist()
        self._last: list[str] = rows["last_key"].to_pylist()
        self._last_so_far = list(accumulate(self._last, max))

    def overlapping(self, first_key: str, last_key: str) -> list[str]:
        """Names of the shards that may hold a key of this range."""
        start = bisect_left(self._last_so_far, first_key)
        end = bisect_right(self._first, last_key)
        return [self._names[n] for n in range(start, end) if self._last[n] >= first_key]


def _matrix(lists: pa.ChunkedArray, length: int) -> NDArray[np.int64]:
    """N lists of one length as [n, length]."""
    values = lists.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.int64).reshape(len(lists), length)
