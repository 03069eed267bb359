"""Blocks: images that share one object, and where each of them comes from.

A decoder makes a block of images of one shard; an actor that forwards images makes one of images
of many shards. A block is scheduled whole, as one slice of all its rows. Only the search for an
image that kills actors cuts it into several slices.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Block", "BlockSlice", "Origins", "Rows"]

Rows = NDArray[np.int64]
"""Positions [n], in a shard's list of images or in a block's data."""


class Origins(NamedTuple):
    """Where images come from: their shards [n] and their rows in these [n]."""

    shards: Rows
    rows: Rows

    def take(self, selected: Rows | NDArray[np.bool_]) -> "Origins":
        """Some of the images, by position or by mask."""
        return Origins(self.shards[selected], self.rows[selected])

    @classmethod
    def join(cls, groups: "Sequence[Origins]") -> "Origins":
        """Several groups of images, in their order."""
        return cls(
            np.concatenate([group.shards for group in groups]),
            np.concatenate([group.rows for group in groups]),
        )


@dataclass(slots=True, eq=False)
class Block:
    """Images that share one object.

    Attributes:
        number: identifies the block.
        pool: position of the pool that processes it, `DECODERS` before decoding.
        origins: of all its rows.
        num_bytes: size of its data, or the size reserved while it is being decoded.
        node: where its data is, if known.
        has_data: False before decoding and after the data was lost.
        slices: those with pending rows; a dict for its order, so that schedules repeat exactly.
    """

    number: int
    pool: int
    origins: Origins
    num_bytes: int = 0
    node: str | None = None
    has_data: bool = False
    slices: "dict[BlockSlice, None]" = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class BlockSlice:
    """Rows of a block that are scheduled together.

    Attributes:
        block: the rows are of.
        is_pending: the slice's rows that are not completed, [length of the block].
        num_pending: how many.
        attempts: losses counted against these rows.
        actor: the slice is assigned to; None while it waits.
    """

    block: Block
    is_pending: NDArray[np.bool_]
    num_pending: int
    attempts: int
    actor: int | None = None

    @classmethod
    def whole(cls, block: Block, attempts: int = 0) -> "BlockSlice":
        """Adds a slice of all rows to a block."""
        length = len(block.origins.rows)
        block_slice = cls(block, np.ones(length, dtype=np.bool_), length, attempts)
        block.slices[block_slice] = None
        return block_slice

    @property
    def pending_rows(self) -> Rows:
        """Rows of the block's data that are not completed."""
        length = len(self.is_pending)
        if self.num_pending == length:
            return np.arange(length)
        return self.is_pending.nonzero()[0]

    @property
    def pending_origins(self) -> Origins:
        """Where the pending images come from."""
        return self.block.origins.take(self.is_pending)

    def complete(self, rows: Rows) -> None:
        """Marks rows as completed; completing a row twice is a bug."""
        try:
            num_marked = int(np.count_nonzero(self.is_pending[rows]))
        except IndexError:
            num_marked = 0
        assert num_marked == len(rows), f"{self}: a row completed twice, or not of this slice"
        self.is_pending[rows] = False
        left = int(np.count_nonzero(self.is_pending))
        assert left == self.num_pending - len(rows), f"{self}: a row completed twice"
        self.num_pending = left

    def split(self) -> "tuple[BlockSlice, BlockSlice]":
        """Replaces this slice by two with half of its pending rows each."""
        halves = []
        for rows in np.array_split(self.pending_rows, 2):
            is_pending = np.zeros_like(self.is_pending)
            is_pending[rows] = True
            halves.append(BlockSlice(self.block, is_pending, len(rows), self.attempts))
        del self.block.slices[self]
        self.block.slices.update(dict.fromkeys(halves))
        return halves[0], halves[1]

    def __str__(self) -> str:
        return f"block {self.block.number}"
