"""Finds vectors that are near each other without comparing all pairs.

Each vector belongs to the cell of its nearest centre, and visits that of the second nearest. Each
cell is compared with itself and its visitors, so only pairs that share none of two cells are
missed; near-duplicates hardly ever do. Memory holds the cells of all rows and one block of one
cell; the vectors lie in a file.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cells", "components", "near_pairs"]

_ROWS_PER_CELL = 4096
_SAMPLED_PER_CELL = 32
_ROUNDS = 4
_BLOCK_ROWS, _BLOCK_COLUMNS = 1024, 8192


class Cells:
    """The cells of N rows.

    Args:
        sample: vectors of length 1 to place the centres by, [S, D].
        num_rows: N.
    """

    def __init__(self, sample: NDArray[np.float32], num_rows: int) -> None:
        num_cells = max(1, min(num_rows // _ROWS_PER_CELL, len(sample) // 4))
        self._centres = _centres(sample, num_cells)
        self._cells = np.full((num_rows, 2), -1, dtype=np.int32)

    @staticmethod
    def sample_size(num_rows: int) -> int:
        """Vectors to sample of so many rows."""
        return min(num_rows, _SAMPLED_PER_CELL * max(8, num_rows // _ROWS_PER_CELL))

    def assign(self, start: int, vectors: NDArray[np.float32]) -> None:
        """Assigns the vectors of consecutive rows to cells, [B, D]."""
        similarities = vectors @ self._centres.T
        nearest = similarities.argmax(axis=1)
        rows = np.arange(len(vectors))
        similarities[rows, nearest] = -np.inf
        self._cells[start : start + len(vectors), 0] = nearest
        if len(self._centres) > 1:
            self._cells[start : start + len(vectors), 1] = similarities.argmax(axis=1)

    def members(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Rows of each cell, and of its visitors."""
        own, visiting = (_grouped(self._cells[:, side], len(self._centres)) for side in (0, 1))
        yield from zip(own, visiting, strict=True)


def near_pairs(
    cells: Cells, vectors: NDArray[np.float16], min_similarity: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yields pairs of rows whose cosine similarity reaches a bound.

    Args:
        cells: of the rows.
        vectors: of length 1, [N, D]; may be mapped from a file.
        min_similarity: the bound.
    """
    for own, visiting in cells.members():
        rows = np.concatenate([own, visiting])
        others = np.asarray(vectors[rows], dtype=np.float32)
        for start in range(0, len(own), _BLOCK_ROWS):
            block = others[start : min(start + _BLOCK_ROWS, len(own))]
            # Each pair once: with the rows from this block on.
            for first in range(start, len(rows), _BLOCK_COLUMNS):
                similar = block @ others[first : first + _BLOCK_COLUMNS].T >= min_similarity
                left, right = np.nonzero(similar)
                left, right = left + start, right + first
                keep = right > left
                yield rows[left[keep]], rows[right[keep]]


def components(
    num_rows: int, pairs: Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]
) -> NDArray[np.int64]:
    """Union-find: the least row that each row is connected with, [N]."""
    parent = np.arange(num_rows)
    for left, right in pairs:
        while len(left):
            left, right = _roots(parent, left), _roots(parent, right)
            differ = left != right
            left, right = left[differ], right[differ]
            low, high = np.minimum(left, right), np.maximum(left, right)
            np.minimum.at(parent, high, low)
    return _roots(parent, np.arange(num_rows))


def _roots(parent: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    roots = parent[rows]
    while not np.array_equal(above := parent[roots], roots):
        roots = above
    parent[rows] = roots
    return roots


def _centres(sample: NDArray[np.float32], num_cells: int) -> NDArray[np.float32]:
    """Spherical k-means, a few rounds: the cells need not be good, only small."""
    random = np.random.default_rng(0)
    centres = sample[random.choice(len(sample), num_cells, replace=False)]
    for _ in range(_ROUNDS):
        sums = np.zeros_like(centres)
        np.add.at(sums, (sample @ centres.T).argmax(axis=1), sample)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(norms > 0, sums / np.maximum(norms, 1e-9), centres)
    return centres


def _grouped(cell_of: NDArray[np.int32], num_cells: int) -> Iterator[NDArray[np.int64]]:
    """Rows of each cell, ascending."""
    order = np.argsort(cell_of, kind="stable")
    bounds = np.searchsorted(cell_of[order], np.arange(num_cells + 1))
    for cell in range(num_cells):
        yield order[bounds[cell] : bounds[cell + 1]]
