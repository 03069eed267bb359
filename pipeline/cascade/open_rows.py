"""The rows of blocks that are inside an actor, by the consecutive numbers they get there."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.scheduling import Rows

__all__ = ["OpenRows", "RowsOfBlock"]

RowsOfBlock = tuple[int, Rows]


@dataclass(slots=True)
class _OpenBlock:
    """A block with rows that are still inside.

    Attributes:
        number: of the block.
        first_row_id: of its first row here; the others follow.
        rows: of the block's data that this actor was given.
        info: what else their tags need, for all rows of the block.
        num_open: rows still inside.
    """

    number: int
    first_row_id: int
    rows: Rows
    info: pa.Table
    num_open: int


class OpenRows:
    """Numbers rows when they come in and finds their block again when they leave."""

    def __init__(self) -> None:
        self._blocks: list[_OpenBlock] = []
        self._num_row_ids = 0

    def add(self, block: int, rows: Rows, info: pa.Table) -> Rows:
        """Numbers rows of a block; the numbers are never reused.

        Args:
            block: its number.
            rows: of its data, [n].
            info: what else tags need, for all rows of the block (`records.info_table`).

        Returns:
            Their row ids, [n].
        """
        row_ids = np.arange(self._num_row_ids, self._num_row_ids + len(rows))
        self._blocks.append(_OpenBlock(block, self._num_row_ids, rows, info, len(rows)))
        self._num_row_ids += len(rows)
        return row_ids

    def take(self, row_ids: Rows) -> tuple[pa.Table, list[RowsOfBlock]]:
        """Removes rows.

        Args:
            row_ids: [n], each once.

        Returns:
            The rest of their tags, [n] rows, and in the same order runs of rows of one block.
        """
        starts = np.array([block.first_row_id for block in self._blocks])
        positions = np.searchsorted(starts, row_ids, side="right") - 1
        infos, taken = [], []
        for run in _runs(positions):
            block = self._blocks[positions[run.start]]
            rows = block.rows[row_ids[run] - block.first_row_id]
            block.num_open -= len(rows)
            infos.append(block.info.take(rows))
            taken.append((block.number, rows))
        # At once: a block's info keeps its pixels in the object store.
        self._blocks = [block for block in self._blocks if block.num_open]
        return pa.concat_tables(infos), taken


def _runs(values: Rows) -> Iterator[slice]:
    """Stretches of equal values."""
    borders = (np.flatnonzero(np.diff(values)) + 1).tolist()
    yield from map(slice, [0, *borders], [*borders, len(values)])
