"""Compares rows of two tables column by column."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["same_rows"]


def same_rows(
    left: pa.Table, right: pa.Table, left_rows: NDArray[np.int64], right_rows: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether pairs of rows are equal; null equals null, NaN nothing.

    Args:
        left: a table.
        right: another one of the same schema.
        left_rows: numbers of rows of `left`, [N].
        right_rows: for each the row of `right` to compare it with, [N].

    Returns:
        One value a pair, [N].
    """
    same = np.ones(len(left_rows), dtype=np.bool_)
    for name in left.column_names:
        columns = left[name].combine_chunks(), right[name].combine_chunks()
        same &= _equal(columns[0].take(pa.array(left_rows)), columns[1].take(pa.array(right_rows)))
    return same


def _equal(left: pa.Array, right: pa.Array) -> NDArray[np.bool_]:
    if pa.types.is_nested(left.type):
        return _equal_lists(left, right)
    both_null = pc.and_(pc.is_null(left), pc.is_null(right))
    return _bools(pc.or_(pc.fill_null(pc.equal(left, right), False), both_null))


def _equal_lists(left: pa.Array, right: pa.Array) -> NDArray[np.bool_]:
    left_lengths, right_lengths = (
        pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
        for lists in (left, right)
    )
    same: NDArray[np.bool_] = left_lengths == right_lengths
    rows = pa.array(same)
    values = _equal(pc.list_flatten(left.filter(rows)), pc.list_flatten(right.filter(rows)))
    ends = np.cumsum(np.maximum(left_lengths[same], 0))
    differing = np.concatenate([[0], np.cumsum(~values)])
    starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
    same[same] = differing[ends] == differing[starts]
    return same


def _bools(values: pa.Array) -> NDArray[np.bool_]:
    array: NDArray[np.bool_] = values.to_numpy(zero_copy_only=False)
    return array
