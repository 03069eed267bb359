"""Rows that come into an actor and leave it, in any order."""

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cascade.open_rows import OpenRows


def info_of(block: int, length: int) -> pa.Table:
    return pa.table({"key": [f"{block}/{row}" for row in range(length)]})


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 2**32))
def test_every_row_leaves_once_with_its_block_and_its_info(lengths: list[int], seed: int) -> None:
    chance = random.Random(seed)
    rows = OpenRows()
    expected: dict[int, str] = {}
    for block, length in enumerate(lengths):
        chosen = sorted(chance.sample(range(length), chance.randint(1, length)))
        row_ids = rows.add(block, np.array(chosen), info_of(block, length))
        expected |= {
            row_id: f"{block}/{row}" for row_id, row in zip(row_ids.tolist(), chosen, strict=True)
        }
    leaving = chance.sample(list(expected), len(expected))
    while leaving:
        count = chance.randint(1, 5)
        now, leaving = leaving[:count], leaving[count:]
        info, taken = rows.take(np.array(now))
        keys = [f"{block}/{row}" for block, chosen in taken for row in chosen.tolist()]
        assert keys == info["key"].to_pylist() == [expected[row_id] for row_id in now]


def test_a_block_is_released_with_its_last_row() -> None:
    rows = OpenRows()
    row_ids = rows.add(7, np.arange(3), info_of(7, 3))
    rows.take(row_ids[:2])
    rows.take(row_ids[2:])
    with pytest.raises(IndexError):
        rows.take(row_ids[:1])
