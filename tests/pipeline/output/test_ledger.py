"""The ledger on real Delta tables in a folder."""

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.errors import Reason
from pipeline.ledger import Ledger, Tally
from pipeline.records import TAGS_SCHEMA, DeadLetter, ImageRecord
from pipeline.shards import Shard
from tests.pipeline.output.tables import tables_in

GMACS = (1.0, 3.0)


def shard_of(*keys: str) -> Shard:
    name = f"shard-{keys[0]}-{len(keys)}"
    return Shard(name, tuple(ImageRecord(key, f"file:///{key}", 1) for key in keys))


def tags(shard: Shard, exit_of_key: dict[str, int]) -> pa.Table:
    rows = [
        {"key": key, "exit_stage": stage, "shard": shard.name, "label": "x"}
        for key, stage in exit_of_key.items()
    ]
    return pa.Table.from_pylist(rows, schema=TAGS_SCHEMA)


def ledger_in(folder: Path, epoch: int = 1, retry: tuple[Reason, ...] | None = None) -> Ledger:
    return Ledger(*tables_in(folder, epoch), GMACS, f"run-{epoch}", retry)


def commit(ledger: Ledger, shard: Shard, number: int, exit_of_key: dict[str, int]) -> None:
    file = ledger.tag_writer.write(tags(shard, exit_of_key))
    exits = np.bincount(np.array(list(exit_of_key.values())) - 1, minlength=2)
    ledger.commit(file, [], {number: Tally(exits)})


def test_a_finished_shard_is_skipped_by_the_next_run(tmp_path: Path) -> None:
    shard = shard_of("a", "b", "c")
    first = ledger_in(tmp_path)
    number, rows = first.open(shard)
    assert rows.tolist() == [0, 1, 2]
    commit(first, shard, number, {"a": 1, "b": 2, "c": 1})
    assert first.is_complete
    second = ledger_in(tmp_path, 2)
    _, rows = second.open(shard)
    assert rows.tolist() == []
    assert second.totals.num_skipped == 3
    assert second.totals.all_runs.exits.tolist() == [2, 1]
    assert second.totals.this_run.num_done == 0


def test_in_an_unfinished_shard_only_keys_without_a_result_are_left(tmp_path: Path) -> None:
    shard = shard_of("a", "b", "c", "d")
    first = ledger_in(tmp_path)
    number, _ = first.open(shard)
    commit(first, shard, number, {"b": 2})
    letter = DeadLetter("d", "file:///d", Reason.TRUNCATED, "cut", 1, shard.name)
    tally = Tally.zero(2)
    tally.num_dead_letters = 1
    first.commit(None, [letter], {number: tally})
    second = ledger_in(tmp_path, 2)
    number, rows = second.open(shard)
    assert rows.tolist() == [0, 2]
    commit(second, shard, number, {"a": 1, "c": 1})
    assert second.is_complete
    with duckdb.connect() as connection:
        (row,) = connection.read_parquet(f"{tmp_path}/shards/*.parquet").fetchall()
    assert row[3:7] == (4, 3, 1, [2, 1])
    assert row[7] == 2 * 1.0 + 1 * 3.0


def test_a_crash_between_the_last_tag_and_its_shard_row_is_made_good(tmp_path: Path) -> None:
    shard = shard_of("a", "b")
    first = ledger_in(tmp_path)
    first.open(shard)
    # The tags are committed, the run dies before it can record the shard.
    file = first.tag_writer.write(tags(shard, {"a": 1, "b": 1}))
    tables_in(tmp_path, 1)[0].commit([file], 0.0)
    second = ledger_in(tmp_path, 2)
    _, rows = second.open(shard)
    assert rows.tolist() == []
    assert not second.is_complete
    second.commit(None, [], {})
    assert second.is_complete
    assert ledger_in(tmp_path, 3).open(shard)[1].tolist() == []


def test_a_file_without_a_commit_is_invisible(tmp_path: Path) -> None:
    shard = shard_of("a")
    ledger = ledger_in(tmp_path)
    ledger.open(shard)
    ledger.tag_writer.write(tags(shard, {"a": 1}))
    assert ledger_in(tmp_path, 2).open(shard)[1].tolist() == [0]


def test_an_archive_that_grew_costs_only_the_new_image(tmp_path: Path) -> None:
    before, after = shard_of("a", "c"), shard_of("a", "b", "c")
    first = ledger_in(tmp_path)
    number, _ = first.open(before)
    commit(first, before, number, {"a": 1, "c": 1})
    second = ledger_in(tmp_path, 2)
    _, rows = second.open(after)
    assert rows.tolist() == [1]


def test_seconds_add_up_over_runs(tmp_path: Path) -> None:
    seconds = 0.0
    for epoch, key in enumerate("ab", start=1):
        ledger = ledger_in(tmp_path, epoch)
        shard = shard_of(key)
        number, _ = ledger.open(shard)
        commit(ledger, shard, number, {key: 1})
        assert ledger.seconds_of_all_runs > seconds
        seconds = ledger.seconds_of_all_runs
