"""Which images are in which block, where its data lies, and whether it is still there.

Kept apart from what the scheduler keeps, so that the one can be checked against the other.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.scheduling import Rows
from pipeline.simulation.archive import Archive, Exits, Images

__all__ = ["Blocks"]

_ROW_BITS = 20
_ROW_MASK = (1 << _ROW_BITS) - 1


@dataclass(slots=True)
class _Block:
    """Shards [n], rows therein [n] and exits [n] of the images; `shard` if it is one for all."""

    shard: int | None
    shards: Rows | None
    rows: Rows
    exits: Exits
    node: str
    is_lost: bool = False


class Blocks:
    """Blocks of an archive that are in flight.

    Args:
        archive: tells the exits.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._blocks: dict[int, _Block] = {}
        self._bundles: dict[int, _Block] = {}

    def __len__(self) -> int:
        return len(self._blocks) + len(self._bundles)

    def decode(self, block: int, shard: int, rows: Rows, node: str) -> None:
        """A decoder starts on a block."""
        exits = self._archive.exits(shard, rows)
        self._blocks[block] = _Block(shard, None, rows, exits, node)

    def bundle(self, call: int, groups: list[Images], node: str) -> tuple[tuple[int, Rows], ...]:
        """Images that a call forwards; returns (block, rows) in the bundle's order."""
        images = groups[0] if len(groups) == 1 else Images.join(groups)
        order = np.argsort(images.row_ids)
        row_ids, exits = images.row_ids[order], images.exits[order]
        pieces = tuple(self.by_block([row_ids]).items())
        shards = np.concatenate([self._shards(block, rows) for block, rows in pieces])
        rows = np.concatenate([self._blocks[block].rows[rows] for block, rows in pieces])
        self._bundles[call] = _Block(None, shards, rows, exits, node)
        return pieces

    def keep(self, block: int, call: int) -> None:
        """A bundle is a block now."""
        self._blocks[block] = self._bundles.pop(call)

    def release(self, block: int) -> None:
        """A block is over; one that no decoder ever saw is not known here."""
        self._blocks.pop(block, None)

    def images(self, block: int, rows: Rows) -> Images:
        """Rows of a block, as an actor gets them."""
        return Images(rows | (block << _ROW_BITS), self._blocks[block].exits[rows])

    def origins(self, block: int, rows: Rows) -> list[tuple[int, Rows]]:
        """Where rows of a block are from: (shard, rows therein)."""
        entry = self._blocks[block]
        if entry.shard is not None:
            return [(entry.shard, entry.rows[rows])]
        shards = self._shards(block, rows)
        found = entry.rows[rows]
        return [(shard, found[shards == shard]) for shard in np.unique(shards).tolist()]

    def by_block(self, row_ids: list[NDArray[np.int64]]) -> dict[int, Rows]:
        """Tickets as rows of their blocks, both ascending."""
        if not row_ids:
            return {}
        ordered = np.sort(np.concatenate(row_ids))
        blocks = ordered >> _ROW_BITS
        borders = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), len(ordered)]
        rows = ordered & _ROW_MASK
        return {int(blocks[start]): rows[start:stop] for start, stop in pairwise(borders)}

    def whole(self) -> list[int]:
        """Blocks whose data exists."""
        return [number for number, entry in self._blocks.items() if not entry.is_lost]

    def on_node(self, node: str) -> list[int]:
        """Blocks whose data lies on a node."""
        return [number for number in self.whole() if self._blocks[number].node == node]

    def lose(self, block: int) -> None:
        """A block's data is gone."""
        self._blocks[block].is_lost = True

    def is_lost(self, block: int) -> bool:
        """Whether a block's data is gone."""
        return self._blocks[block].is_lost

    def _shards(self, block: int, rows: Rows) -> Rows:
        entry = self._blocks[block]
        if entry.shards is None:
            return np.full(len(rows), entry.shard)
        return entry.shards[rows]
