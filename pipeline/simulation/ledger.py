"""The simulated ledger: which images are pending, completed or committed.

Holds one byte an image, and only for shards that are not finished. An image's number is
shard * 2**32 + row, as in `Scheduler.pending_images`.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.scheduling import Rows

__all__ = ["BrokenInvariantError", "SimulatedLedger"]

_PENDING, _COMPLETED, _COMMITTED = 0, 1, 2


class BrokenInvariantError(AssertionError):
    """The scheduler did what it never may; the message says what, and when."""


class SimulatedLedger:
    """Images of all shards that were listed and are not finished.

    Attributes:
        num_listed, num_pending, num_committed: images.
    """

    def __init__(self) -> None:
        self.num_listed = self.num_pending = self.num_committed = 0
        self._shards: dict[int, NDArray[np.uint8]] = {}
        self._uncommitted: set[int] = set()

    def add_shard(self, shard: int, length: int) -> Rows:
        """Adds a shard; returns its rows."""
        self._shards[shard] = np.full(length, _PENDING, dtype=np.uint8)
        self.num_listed += length
        self.num_pending += length
        return np.arange(length)

    def complete(self, images: Rows) -> None:
        """Marks images as answered or given up.

        Raises:
            BrokenInvariantError: one of them was completed before.
        """
        shards, rows = images >> 32, images & 0xFFFFFFFF
        for shard in np.unique(shards).tolist():
            states, of_shard = self._shards.get(shard), rows[shards == shard]
            if states is None or states[of_shard].any():
                raise BrokenInvariantError(f"an image of shard {shard} was completed twice")
            states[of_shard] = _COMPLETED
            self._uncommitted.add(shard)
        self.num_pending -= len(images)

    def pending_rows(self) -> Iterator[tuple[int, Rows]]:
        """Each shard that has pending rows, and these."""
        for shard, states in self._shards.items():
            if len(rows := np.flatnonzero(states == _PENDING)):
                yield shard, rows

    def commit(self) -> None:
        """Makes all results durable, and forgets finished shards."""
        for shard in self._uncommitted:
            states = self._shards[shard]
            self.num_committed += int(np.count_nonzero(states == _COMPLETED))
            states[states == _COMPLETED] = _COMMITTED
            if states.all():
                del self._shards[shard]
        self._uncommitted.clear()

    def lose_uncommitted(self) -> int:
        """Makes all results since the last commit pending again; returns how many they were."""
        before = self.num_pending
        for shard in self._uncommitted:
            states = self._shards[shard]
            self.num_pending += int(np.count_nonzero(states == _COMPLETED))
            states[states == _COMPLETED] = _PENDING
        self._uncommitted.clear()
        return self.num_pending - before
