"""The simulated object store: the images of each object, its node, and whether it is lost.

Independent of the scheduler's own records, so that one can be checked against the other.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.scheduling import Rows
from pipeline.simulation.archive import Archive, Exits, Images

__all__ = ["ObjectStore"]

_ROW_BITS = 20
_ROW_MASK = (1 << _ROW_BITS) - 1


@dataclass(slots=True)
class _Object:
    """Images as shard * 2**32 + row [n], and the exit of each [n]."""

    images: Rows
    exits: Exits
    node: str
    is_lost: bool = False


class ObjectStore:
    """The data of all blocks, and what calls forwarded and is not a block yet.

    Args:
        archive: has the exits.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._blocks: dict[int, _Object] = {}
        self._forwarded: dict[int, _Object] = {}

    def __len__(self) -> int:
        return len(self._blocks) + len(self._forwarded)

    def add_decoded(self, block: int, shard: int, rows: Rows, node: str) -> None:
        """Adds the data of a block of one shard."""
        exits = self._archive.exits(shard, rows)
        self._blocks[block] = _Object((shard << 32) + rows, exits, node)

    def add_forwarded(
        self, call: int, groups: list[Images], node: str
    ) -> tuple[tuple[int, Rows], ...]:
        """Adds what a call forwards; returns its (block, rows) in the order of the object."""
        images = groups[0] if len(groups) == 1 else Images.join(groups)
        order = np.argsort(images.row_ids)
        pieces = tuple(rows_by_block([images.row_ids[order]]).items())
        numbers = np.concatenate([self.images_of(block, rows) for block, rows in pieces])
        self._forwarded[call] = _Object(numbers, images.exits[order], node)
        return pieces

    def keep(self, block: int, call: int) -> None:
        """Makes what a call forwarded the data of a block."""
        self._blocks[block] = self._forwarded.pop(call)

    def release(self, block: int) -> None:
        """Drops a block; one that was never decoded has no data."""
        self._blocks.pop(block, None)

    def read(self, block: int, rows: Rows) -> Images:
        """Rows of a block, as an actor gets them."""
        return Images(rows | (block << _ROW_BITS), self._blocks[block].exits[rows])

    def images_of(self, block: int, rows: Rows) -> Rows:
        """The images in rows of a block, as shard * 2**32 + row."""
        return self._blocks[block].images[rows]

    def blocks(self, node: str | None = None) -> list[int]:
        """Blocks whose data is not lost, on one node or on all."""
        return [
            number
            for number, entry in self._blocks.items()
            if not entry.is_lost and node in (None, entry.node)
        ]

    def lose(self, block: int) -> None:
        """Loses the data of a block."""
        self._blocks[block].is_lost = True

    def is_lost(self, block: int) -> bool:
        """Whether the data of a block is lost."""
        return self._blocks[block].is_lost


def rows_by_block(row_ids: list[NDArray[np.int64]]) -> dict[int, Rows]:
    """The rows of each block that some `Images.row_ids` name, both ascending."""
    if not row_ids:
        return {}
    ordered = np.sort(np.concatenate(row_ids))
    blocks = ordered >> _ROW_BITS
    borders = [0, *(np.flatnonzero(np.diff(blocks)) + 1).tolist(), len(ordered)]
    rows = ordered & _ROW_MASK
    return {int(blocks[start]): rows[start:stop] for start, stop in pairwise(borders)}
