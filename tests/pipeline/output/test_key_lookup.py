"""The merge join of listing and table, against a plain lookup."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from pipeline.output.delta_table import OutputTable
from pipeline.output.key_lookup import KeyLookup
from pipeline.records import TAGS_SCHEMA
from tests.pipeline.output.tables import tables_in


def commit(table: OutputTable, keys: list[str]) -> None:
    rows = [{"key": key, "exit_stage": 1 + len(key) % 3, "etag": f"e{key}"} for key in keys]
    table.commit([table.writer.write(pa.Table.from_pylist(rows, schema=TAGS_SCHEMA))], 0.0)


def found(lookup: KeyLookup, keys: list[str]) -> dict[str, tuple[int, str]]:
    rows = lookup.rows(keys)
    values = zip(rows["exit_stage"].to_pylist(), rows["etag"].to_pylist(), strict=True)
    return dict(zip(rows["key"].to_pylist(), values, strict=True))


def expected(committed: set[str], asked: list[str]) -> dict[str, tuple[int, str]]:
    return {key: (1 + len(key) % 3, f"e{key}") for key in asked if key in committed}


@given(st.data())
def test_keys_in_any_order_are_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    universe = [f"k{n:03d}" + "é" * (n % 3) for n in range(60)]
    files = data.draw(st.lists(st.sets(st.sampled_from(universe), min_size=1), max_size=5))
    tags = tables_in(tmp_path_factory.mktemp("t"), 1).tags
    committed: set[str] = set()
    for keys in files:
        if new := sorted(keys - committed):
            commit(tags, new)
            committed |= keys
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.output.key_lookup._BATCH_ROWS", data.draw(st.integers(1, 9)))
        patch.setattr(
            "pipeline.output.key_lookup._WINDOW_ROWS", data.draw(st.sampled_from([2, 99]))
        )
        lookup = KeyLookup(tags, ["exit_stage", "etag"])
        for asked in data.draw(
            st.lists(st.sets(st.sampled_from(universe), min_size=1), max_size=20)
        ):
            assert found(lookup, list(asked)) == expected(committed, list(asked))


def test_a_listing_in_order_reads_each_file_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = tables_in(tmp_path, 1).tags
    keys = [f"{n:05d}" for n in range(4000)]
    for part in range(8):
        commit(tags, keys[part::8])  # each file spans all keys
    opened: list[str] = []
    batches = KeyLookup._batches

    def counted(self: KeyLookup, name: str, first: str) -> Iterator[pa.Table]:
        opened.append(name)
        return batches(self, name, first)

    monkeypatch.setattr(KeyLookup, "_batches", counted)
    lookup = KeyLookup(tags, ["exit_stage", "etag"])
    for start in range(0, 4000, 100):
        assert lookup.rows(keys[start : start + 100]).num_rows == 100
    assert len(opened) == 8


def test_files_compacted_by_another_program_need_not_be_sorted(tmp_path: Path) -> None:
    tags = tables_in(tmp_path, 1).tags
    keys = [f"{n:03d}" for n in np.random.default_rng(3).permutation(300)]
    for part in range(3):
        commit(tags, keys[part::3])
    DeltaTable(tags.store.uri).optimize.compact()
    tags = tables_in(tmp_path, 2).tags
    lookup = KeyLookup(tags, ["exit_stage", "etag"])
    for start in range(0, 300, 50):
        asked = [f"{n:03d}" for n in range(start, start + 50)]
        assert found(lookup, asked) == expected(set(keys), asked)


def test_files_rewritten_by_another_program_are_read(tmp_path: Path) -> None:
    tags = tables_in(tmp_path, 1).tags
    commit(tags, ["b", "a"])
    DeltaTable(tmp_path / "tags").update({"uri": "'elsewhere'"})
    tags = tables_in(tmp_path, 2).tags
    lookup = KeyLookup(tags, ["exit_stage", "etag"])
    assert found(lookup, ["a", "b"]) == expected({"a", "b"}, ["a", "b"])
