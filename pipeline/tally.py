"""Counts of results, and the finished shards of earlier runs in little memory."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["FinishedShards", "Tally", "Totals"]


@dataclass(slots=True)
class Tally:
    """Results of some images.

    Attributes:
        exits: images answered at each exit.
        num_dead_letters: images that failed for good.
    """

    exits: NDArray[np.int64]
    num_dead_letters: int = 0

    @classmethod
    def zero(cls, num_stages: int) -> "Tally":
        """No results yet."""
        return cls(np.zeros(num_stages, dtype=np.int64))

    @property
    def num_tagged(self) -> int:
        """Images answered."""
        return int(self.exits.sum())

    @property
    def num_done(self) -> int:
        """Images with a result of either kind."""
        return self.num_tagged + self.num_dead_letters

    def add(self, other: "Tally") -> None:
        """Adds results in place."""
        self.exits += other.exits
        self.num_dead_letters += other.num_dead_letters


@dataclass(slots=True)
class Totals:
    """What the archive holds and what is done of it, as far as it has been listed.

    Attributes:
        this_run: results of this run.
        all_runs: results of all runs for the images seen.
        num_images: images seen in the listing.
        num_skipped: of those, done by earlier runs.
        num_left: of those, without a result and not for this run to do.
    """

    this_run: Tally
    all_runs: Tally
    num_images: int = 0
    num_skipped: int = 0
    num_left: int = 0


class FinishedShards:
    """Rows of the `shards` table by name: about 50 bytes a shard, 50 MB for a billion images.

    Args:
        rows: with `shard`, `exits`, `num_dead_letters`.
        num_stages: of the cascade.
    """

    def __init__(self, rows: pa.Table, num_stages: int) -> None:
        names = np.array(rows["shard"].to_numpy(zero_copy_only=False), dtype=np.bytes_)
        order = np.argsort(names, kind="stable")
        exits = rows["exits"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        self._names = names[order]
        self._exits = exits.astype(np.int64).reshape(len(names), num_stages)[order]
        self._num_dead_letters = rows["num_dead_letters"].to_numpy()[order]

    def get(self, name: str) -> Tally | None:
        """The results of a finished shard; None if it is not finished."""
        place = int(np.searchsorted(self._names, name.encode()))
        if place == len(self._names) or self._names[place] != name.encode():
            return None
        return Tally(self._exits[place].copy(), int(self._num_dead_letters[place]))
