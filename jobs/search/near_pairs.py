"""Finds vectors that are near each other without comparing all pairs.

Rows with equal vectors are pairs without a comparison, and only the first of them goes on. Each
vector belongs to the cell of its nearest centre, and visits that of the second nearest. Each cell
is compared with itself and its visitors, so only pairs that share none of two cells are missed;
near-duplicates hardly ever do. A cell with too many rows is divided again. Memory holds a few
numbers for each row, and the vectors of one cell; all vectors lie in a file.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["components", "near_pairs"]

_ROWS_PER_CELL = 4096
_MAX_ROWS = 16_384
"""Of a cell, with its visitors."""

_SAMPLED_PER_CELL = 32
_ROUNDS = 4
_BATCH_ROWS = 8192
_MAX_SIMILARITIES = 2**25
"""To centres, computed at once."""

_BLOCK_ROWS, _BLOCK_COLUMNS = 1024, 4096

_Rows = NDArray[np.int64]


def near_pairs(
    vectors: NDArray[np.float16], min_similarity: float
) -> Iterator[tuple[_Rows, _Rows]]:
    """Yields pairs of rows whose cosine similarity reaches a bound.

    Pairs of rows that others of their cell connect already are left out.

    Args:
        vectors: of length 1, [N, D]; may be mapped from a file.
        min_similarity: the bound. Of rows with equal vectors, each is a pair with the first.
    """
    firsts = _firsts(vectors)
    is_copy = firsts != np.arange(len(vectors))
    yield firsts[is_copy], np.flatnonzero(is_copy)
    rows = np.flatnonzero(~is_copy)
    del firsts, is_copy
    for own, visiting in _cells(vectors, rows):
        yield from _pairs(vectors, own, visiting, min_similarity)


def _firsts(vectors: NDArray[np.float16]) -> _Rows:
    """The first row with the same vector, [N]."""
    random = np.random.default_rng(0)
    factors = random.integers(2**63, size=vectors.shape[1], dtype=np.uint64) | np.uint64(1)
    hashes = np.empty(len(vectors), dtype=np.uint64)
    for start in range(0, len(vectors), _BATCH_ROWS):
        bits = vectors[start : start + _BATCH_ROWS].view(np.uint16)
        hashes[start : start + _BATCH_ROWS] = bits.astype(np.uint64) @ factors
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    firsts: _Rows = first[inverse]
    copies = np.flatnonzero(firsts != np.arange(len(vectors)))
    for start in range(0, len(copies), _BATCH_ROWS):
        rows = copies[start : start + _BATCH_ROWS]
        differ = (vectors[rows] != vectors[firsts[rows]]).any(axis=1)
        firsts[rows[differ]] = rows[differ]
    return firsts


def _cells(vectors: NDArray[np.float16], rows: _Rows) -> Iterator[tuple[_Rows, _Rows]]:
    """Yields the rows of each cell, and its visitors."""
    if len(rows) <= _MAX_ROWS:
        yield rows, rows[:0]
        return
    centres = _centres(vectors, rows)
    nearest = np.empty((len(rows), 2), dtype=np.int32)
    for start, batch in _batches(vectors, rows, len(centres)):
        nearest[start : start + len(batch)] = _two_nearest(batch, centres)
    groups = (_grouped(nearest[:, side], len(centres)) for side in (0, 1))
    for own, visiting in zip(*groups, strict=True):
        both = rows[np.concatenate([own, visiting])]
        if len(both) <= _MAX_ROWS:
            yield both[: len(own)], both[len(own) :]
        elif len(both) <= len(rows) // 2:
            yield from _cells(vectors, both)
        else:
            yield from _slices(vectors, both)


def _slices(vectors: NDArray[np.float16], rows: _Rows) -> Iterator[tuple[_Rows, _Rows]]:
    """Yields slices of rows that hardly differ in direction, each with the next one."""
    direction = np.random.default_rng(0).standard_normal(vectors.shape[1], dtype=np.float32)
    projections = np.empty(len(rows), dtype=np.float32)
    for start, batch in _batches(vectors, rows):
        projections[start : start + len(batch)] = batch @ direction
    ordered = rows[np.argsort(projections)]
    length = _MAX_ROWS // 2
    for start in range(0, len(rows), length):
        end = start + length
        yield ordered[start:end], ordered[end : end + length]


def _pairs(
    vectors: NDArray[np.float16], own: _Rows, visiting: _Rows, min_similarity: float
) -> Iterator[tuple[_Rows, _Rows]]:
    rows = np.concatenate([own, visiting])
    others = np.asarray(vectors[rows], dtype=np.float32)
    parent = np.arange(len(rows))
    start, length = 0, 1
    while start < len(own):
        block = others[start : min(start + length, len(own))]
        # Each pair once: with the rows from this block on.
        for first in range(start, len(rows), _BLOCK_COLUMNS):
            columns = slice(first, first + _BLOCK_COLUMNS)
            similar = block @ others[columns].T >= min_similarity
            similar &= parent[start : start + len(block), None] != parent[columns]
            left, right = np.nonzero(similar)
            if len(left):
                left, right = left + start, right + first
                _connect(parent, left, right)
                parent = _roots(parent, np.arange(len(rows)))
                yield rows[left], rows[right]
        # The first blocks are small: they connect most of a crowd by few pairs.
        start, length = start + length, min(2 * length, _BLOCK_ROWS)


def components(num_rows: int, pairs: Iterator[tuple[_Rows, _Rows]]) -> _Rows:
    """Union-find: the least row that each row is connected with, [N]."""
    parent = np.arange(num_rows)
    for left, right in pairs:
        _connect(parent, left, right)
    return _roots(parent, np.arange(num_rows))


def _connect(parent: _Rows, left: _Rows, right: _Rows) -> None:
    while len(left):
        left, right = _roots(parent, left), _roots(parent, right)
        differ = left != right
        left, right = left[differ], right[differ]
        low, high = np.minimum(left, right), np.maximum(left, right)
        np.minimum.at(parent, high, low)


def _roots(parent: _Rows, rows: _Rows) -> _Rows:
    roots = parent[rows]
    while not np.array_equal(above := parent[roots], roots):
        roots = above
    parent[rows] = roots
    return roots


def _centres(vectors: NDArray[np.float16], rows: _Rows) -> NDArray[np.float32]:
    """Spherical k-means, a few rounds: the cells need not be good, only small."""
    random = np.random.default_rng(0)
    num_cells = max(2, len(rows) // _ROWS_PER_CELL)
    num_sampled = min(len(rows), _SAMPLED_PER_CELL * num_cells)
    sampled = random.choice(rows, num_sampled, replace=False)
    centres = np.asarray(vectors[sampled[:num_cells]], dtype=np.float32)
    sampled.sort()
    for _ in range(_ROUNDS):
        sums = np.zeros_like(centres)
        for _, batch in _batches(vectors, sampled, num_cells):
            np.add.at(sums, (batch @ centres.T).argmax(axis=1), batch)
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        np.divide(sums, norms, out=centres, where=norms > 0)
    return centres


def _batches(
    vectors: NDArray[np.float16], rows: _Rows, num_centres: int = 1
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yields vectors of rows, with the position of the first."""
    length = max(1, min(_BATCH_ROWS, _MAX_SIMILARITIES // num_centres))
    for start in range(0, len(rows), length):
        yield start, np.asarray(vectors[rows[start : start + length]], dtype=np.float32)


def _two_nearest(batch: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int64]:
    similarities = batch @ centres.T
    nearest = similarities.argmax(axis=1)
    similarities[np.arange(len(batch)), nearest] = -np.inf
    return np.stack([nearest, similarities.argmax(axis=1)], axis=1)


def _grouped(cell_of: NDArray[np.int32], num_cells: int) -> Iterator[_Rows]:
    """Rows of each cell, ascending."""
    order = np.argsort(cell_of, kind="stable")
    bounds = np.searchsorted(cell_of[order], np.arange(num_cells + 1))
    for cell in range(num_cells):
        yield order[bounds[cell] : bounds[cell + 1]]
