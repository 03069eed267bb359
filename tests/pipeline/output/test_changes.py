"""What changed between two versions of a table, against the versions themselves."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.output.changes import TableVersion, VersionGoneError, changes
from pipeline.output.compaction import merge_small_files
from pipeline.output.delta_table import OutputTable
from pipeline.output.row_equality import same_rows
from pipeline.storage import open_output_store

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.string()),
        ("scores", pa.list_(pa.float32())),
        ("shard", pa.string()),
        ("twice", pa.list_(pa.float32())),
    ]
)
COLUMNS = ("key", "label", "scores", "twice")

Rows = dict[str, dict[str, Any]]


class History:
    """A table that grows, shrinks, changes and is compacted at random."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.store = open_output_store(folder).child("tags")
        self.table = OutputTable(self.store, SCHEMA, 1, "run-1", "key")
        self.random = random.Random(seed)
        self.rows: Rows = {}
        self.after: dict[int, Rows] = {}
        self.first_with = 4 * (seed % 2)

    def row(self, key: str) -> dict[str, Any]:
        some = self.random
        scores = some.choice([None, [], [0.5], [0.5, 0.25]])
        label = some.choice("abc")
        row: dict[str, Any] = {"key": key, "label": label, "scores": scores, "shard": "s"}
        # From the label and the key, but not yet in the first rows.
        number = float(ord(label) + int(key[1:]))
        return row | {"twice": [number, 2 * number] if self.version > self.first_with else None}

    def step(self) -> None:
        if self.random.random() < 0.2:
            merge_small_files(self.table)
        else:
            keys = {
                f"k{self.random.randrange(300):03}" for _ in range(self.random.randrange(1, 60))
            }
            new = [self.row(key) for key in sorted(keys)]
            gone = set(self.random.sample(sorted(self.rows), min(len(self.rows), 5)))
            file = self.table.writer.write(pa.Table.from_pylist(new, schema=SCHEMA))
            self.table.commit([file], 1.0, without=(keys | gone) & set(self.rows))
            self.rows = {k: v for k, v in self.rows.items() if k not in gone}
            self.rows |= {row["key"]: row for row in new}
        self.after[self.version] = dict(self.rows)

    @property
    def version(self) -> int:
        return self.table.log.delta.version()


def applied(found: Any, rows: Rows) -> Rows:
    result, last = dict(rows), ""
    for part in found:
        for key in part.removed.to_pylist():
            del result[key]
        written = part.written.to_pylist()
        keys = [row["key"] for row in written]
        assert keys == sorted(keys)
        assert all(key > last for key in [*keys, *part.removed.to_pylist()])
        assert part.up_to is None or all(key <= part.up_to for key in keys)
        last = part.up_to or last
        result |= {row["key"]: row for row in written}
    return result


def without_shard(rows: Rows) -> Rows:
    return {key: {name: row[name] for name in COLUMNS} for key, row in rows.items()}


@pytest.mark.parametrize("derived", [(), ("twice",)])
@pytest.mark.parametrize("seed", range(4))
def test_changes_lead_from_any_version_to_any_later_one(
    tmp_path: Path, seed: int, derived: tuple[str, ...]
) -> None:
    history = History(tmp_path, seed)
    for _ in range(12):
        history.step()
    versions = sorted(history.after)
    for earlier in versions:
        for later in versions[versions.index(earlier) :]:
            before, after = (TableVersion(history.store, v) for v in (earlier, later))
            found = changes(before, after, COLUMNS, rows_per_range=70, derived=derived)
            wanted = without_shard(history.after[later])
            assert applied(found, without_shard(history.after[earlier])) == wanted
    whole = list(changes(None, TableVersion(history.store), COLUMNS, rows_per_range=70))
    assert applied(whole, {}) == without_shard(history.rows)
    assert len(whole) > 1


def test_changes_go_on_after_any_range(tmp_path: Path) -> None:
    history = History(tmp_path, 7)
    for _ in range(10):
        history.step()
    later = TableVersion(history.store)
    whole = list(changes(None, later, COLUMNS, 50))
    assert len(whole) >= 3
    for number, part in enumerate(whole[:-1]):
        rest = applied(changes(None, later, COLUMNS, 50, above=part.up_to), {})
        assert rest == applied(whole[number + 1 :], {})


def test_a_compaction_changes_nothing(tmp_path: Path) -> None:
    history = History(tmp_path, 1)
    while len(history.table.log.file_names()) < 3:
        history.step()
    before = TableVersion(history.store)
    assert merge_small_files(history.table) > 0
    after = TableVersion(history.store)
    assert after.files != before.files
    for part in changes(before, after, COLUMNS, 50):
        assert part.written.num_rows == len(part.removed) == 0
        assert part.num_read > 0


def test_a_version_or_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    history = History(tmp_path, 2)
    history.step()
    before = TableVersion(history.store)
    history.table.commit([], 1.0, without=set(history.rows))
    history.store.delete(before.files)
    with pytest.raises(VersionGoneError, match=f"{min(before.files)} of .* exists no more"):
        list(changes(before, TableVersion(history.store), COLUMNS, 50))
    with pytest.raises(VersionGoneError, match="has no version 99 any more"):
        TableVersion(history.store, 99)


def test_rows_of_every_kind_are_compared() -> None:
    pair, other = [1.0, 2.0], [1.0, 2.5]
    left = pa.table(
        {
            "a": pa.array([1, None, None, 2, 3, 3]),
            "b": pa.array([["x"], [], None, ["x", None], ["x"], None], pa.list_(pa.string())),
            "c": pa.array([pair] * 6, pa.list_(pa.float32(), 2)),
        }
    )
    right = pa.table(
        {
            "a": pa.array([1, None, 0, 2, 3, 3]),
            "b": pa.array([["x"], [], None, ["x", None], ["y"], []], pa.list_(pa.string())),
            "c": pa.array([pair] * 3 + [other] + [pair] * 2, pa.list_(pa.float32(), 2)),
        }
    )
    rows = np.arange(6)
    assert same_rows(left, left, rows, rows).all()
    assert same_rows(left, right, rows, rows).tolist() == [True, True, False, False, False, False]
    assert same_rows(left, left, rows[:2], rows[:2][::-1]).tolist() == [False, False]
    vectors, others = left.select(["c"]), right.select(["c"])
    assert same_rows(vectors, others, rows, rows[::-1]).tolist() == [True, True, False] + 3 * [True]
    ragged = pa.table({"c": pa.array([[1.0, 2.0], [1.0], None], pa.list_(pa.float32()))})
    pairs = pa.table({"c": pa.array([[1.0, 2.0], [1.0, 2.0], []], pa.list_(pa.float32()))})
    assert same_rows(ragged, pairs, rows[:3], rows[:3]).tolist() == [True, False, False]
    assert same_rows(left, right, rows[:0], rows[:0]).tolist() == []
