"""What became of every image: the simulation's stand-in for tables and ledger.

One byte an image, for shards that are not finished; so it grows with what is in flight.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.scheduling import Rows

__all__ = ["Accounts", "BrokenInvariantError"]

_OPEN, _ANSWERED, _COMMITTED = 0, 1, 2


class BrokenInvariantError(AssertionError):
    """The scheduler did what it never may; the text tells what and when."""


class Accounts:
    """Images of shards that were listed and are not finished."""

    def __init__(self) -> None:
        self.num_listed = self.num_open = self.num_committed = 0
        self._shards: dict[int, NDArray[np.uint8]] = {}
        self._uncommitted: set[int] = set()

    def list_shard(self, shard: int, length: int) -> Rows:
        """A shard is seen for the first time; returns its rows."""
        self._shards[shard] = np.full(length, _OPEN, dtype=np.uint8)
        self.num_listed += length
        self.num_open += length
        return np.arange(length)

    def end(self, shard: int, rows: Rows) -> None:
        """These images of a shard are answered, or given up.

        Raises:
            BrokenInvariantError: one of them had ended before.
        """
        states = self._shards.get(shard)
        if states is None or states[rows].any():
            raise BrokenInvariantError(
                f"an image of shard {shard} ended twice (rows {rows.tolist()})"
            )
        states[rows] = _ANSWERED
        self.num_open -= len(rows)
        self._uncommitted.add(shard)

    def open_rows(self) -> Iterator[tuple[int, Rows]]:
        """Rows of each shard that have not ended."""
        for shard, states in self._shards.items():
            yield shard, np.flatnonzero(states == _OPEN)

    def commit(self) -> None:
        """What has ended can no longer be lost; finished shards are forgotten."""
        for shard in self._uncommitted:
            states = self._shards[shard]
            self.num_committed += int(np.count_nonzero(states == _ANSWERED))
            states[states == _ANSWERED] = _COMMITTED
            if states.all():
                del self._shards[shard]
        self._uncommitted.clear()

    def lose_uncommitted(self) -> dict[int, Rows]:
        """The coordinator died: what was not committed is open again; open rows by shard."""
        for shard in self._uncommitted:
            states = self._shards[shard]
            self.num_open += int(np.count_nonzero(states == _ANSWERED))
            states[states == _ANSWERED] = _OPEN
        self._uncommitted.clear()
        return {shard: rows for shard, rows in sorted(self.open_rows()) if len(rows)}
