"""Blocks: images that share one object, and where each of them is from.

A block's data comes from a decoder (images of one shard) or from an actor (hard images of many).
Its images are scheduled together, as one *part*; only the search for an image that kills actors
divides a block into several.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.scheduling.events import Rows

__all__ = ["Block", "BlockSlice", "Origins"]


class Origins(NamedTuple):
    """Where images are from: shards [n] and positions therein [n]."""

    shards: Rows
    rows: Rows


@dataclass(slots=True, eq=False)
class Block:
    """Images that share one object.

    Attributes:
        number: of the block.
        pool: position of the pool that it waits for or is held by, `DECODERS` before decoding.
        origins: of all its rows.
        num_bytes: of its data, or kept for it.
        node: that holds its data, if known.
        has_data: its data exists; False before decoding, and once it is lost.
        parts: those with open rows.
    """

    number: int
    pool: int
    origins: Origins
    num_bytes: int = 0
    node: str | None = None
    has_data: bool = False
    parts: set["BlockSlice"] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class BlockSlice:
    """Images of a block that are scheduled together.

    Attributes:
        block: theirs.
        is_open: which of the block's rows are in this part and not over, [length of the block].
        num_open: how many.
        attempts: losses that they were part of.
        actor: who has them; None while they wait.
    """

    block: Block
    is_open: NDArray[np.bool_]
    num_open: int
    attempts: int
    actor: int | None = None

    @classmethod
    def whole(cls, block: Block, attempts: int = 0) -> "BlockSlice":
        """All rows of a block."""
        length = len(block.origins.rows)
        part = cls(block, np.ones(length, dtype=np.bool_), length, attempts)
        block.parts.add(part)
        return part

    @property
    def open_rows(self) -> Rows:
        """Rows of the block's data that are not over."""
        length = len(self.is_open)
        return np.arange(length) if self.num_open == length else self.is_open.nonzero()[0]

    def open_origins(self) -> Origins:
        """Where the open images are from."""
        origins = self.block.origins
        return Origins(origins.shards[self.is_open], origins.rows[self.is_open])

    def close(self, rows: Rows) -> None:
        """These are over; closing an image twice is a bug."""
        try:
            num_known = int(np.count_nonzero(self.is_open[rows]))
        except IndexError:
            num_known = 0
        assert num_known == len(rows), f"{self}: an image was answered twice, or is none of it"
        self.is_open[rows] = False
        left = int(np.count_nonzero(self.is_open))
        assert left == self.num_open - len(rows), f"{self}: an image was answered twice"
        self.num_open = left

    def halves(self) -> "tuple[BlockSlice, BlockSlice]":
        """Two parts with half of the open rows each, in place of this one."""
        parts = []
        for rows in np.array_split(self.open_rows, 2):
            is_open = np.zeros_like(self.is_open)
            is_open[rows] = True
            parts.append(BlockSlice(self.block, is_open, len(rows), self.attempts))
        self.block.parts.discard(self)
        self.block.parts.update(parts)
        return parts[0], parts[1]

    def __str__(self) -> str:
        return f"block {self.block.number}"
