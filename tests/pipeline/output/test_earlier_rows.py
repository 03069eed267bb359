"""Rows by key where the listing goes back again and again."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from pipeline.output.earlier_rows import EarlierRow, EarlierRows, text_hash
from pipeline.output.key_lookup import KeyLookup
from pipeline.records import TAGS_SCHEMA
from tests.pipeline.output.tables import tables_in


def stages(rows: pa.Table) -> NDArray[np.int16]:
    return np.asarray(rows["exit_stage"].to_numpy(), dtype=np.int16)


def test_a_table_is_read_once_for_keys_in_no_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = tables_in(tmp_path, 1).tags
    numbers = np.random.default_rng(1).permutation(400).tolist()
    for part in np.array_split(np.arange(400), 4):
        rows = [
            {"key": f"{n:03d}", "etag": f"e{n}", "shard": f"s{n % 7}", "exit_stage": 1 + n % 3}
            for n in part.tolist()
            if n % 5
        ]
        tags.commit([tags.writer.write(pa.Table.from_pylist(rows, schema=TAGS_SCHEMA))], 1.0)
    num_read = 0
    batches = KeyLookup._batches

    def counted(self: KeyLookup, *arguments: Any) -> Any:
        nonlocal num_read
        num_read += 1
        return batches(self, *arguments)

    monkeypatch.setattr(KeyLookup, "_batches", counted)
    earlier = EarlierRows(tags, ["exit_stage"], stages)
    for start in range(0, 400, 10):
        some = numbers[start : start + 10]
        assert earlier.find([f"{n:03d}" for n in some]) == {
            f"{n:03d}": EarlierRow(1 + n % 3, text_hash(f"e{n}"), text_hash(f"s{n % 7}"))
            for n in some
            if n % 5
        }
    assert num_read <= 4 * 8, "four files, at most a few restarts and one index"
