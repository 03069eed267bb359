"""Retagging on real tables, also after a kill between any two steps.

`fake_tagging.py` says what the keys mean.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import Reason
from pipeline.output.counts import Counts
from pipeline.output.delta_log import DeltaLog
from pipeline.output.delta_table import OutputTable
from pipeline.output.key_lookup import KeyLookup
from pipeline.output.layout import Output
from pipeline.output.ledger import Ledger
from pipeline.output.retag import TagRequirements
from pipeline.records import TAGS_SCHEMA
from tests.command_line import rows as rows_by_duckdb
from tests.pipeline.output.fake_run import GMACS, run_file
from tests.pipeline.output.fake_tagging import (
    DEAD,
    KEYS,
    check_every_version,
    check_is_whole,
    confidence_of,
    exit_at,
    shards_of,
    tag,
    tag_table,
    tags_in,
    work_off,
)

FULL_DEPTH = 2.0


class Killed(BaseException):
    """The end of the process."""


def test_exactly_the_tags_below_the_thresholds_are_done_again(tmp_path: Path) -> None:
    tag(tmp_path, 0.2, "first")
    done, ledger = tag(tmp_path, 0.6, "second")
    assert done == ["c5", "g3"]
    assert (ledger.totals.num_retagged, ledger.totals.num_tagged_before) == (2, 7)
    assert (ledger.totals.num_skipped, ledger.totals.this_run.num_tagged) == (7, 2)
    untouched = {"a1": 2, "b9": 1, "e9": 1, "f9": 1, "i9": 1}
    assert tags_in(tmp_path) == {
        **{key: ("first", stage) for key, stage in untouched.items()},
        **dict.fromkeys(("c5", "g3"), ("second", 2)),
    }
    check_is_whole(tmp_path, 0.6)
    check_every_version(tmp_path)
    assert tag(tmp_path, 0.6, "again")[0] == []


def test_twice_stricter_and_then_full_depth(tmp_path: Path) -> None:
    for threshold, expected in (
        (0.1, ["a1", "b9", "c5", "d9", "e9", "f9", "g3", "h5", "i9"]),
        (0.4, ["a1", "g3"]),
        (0.7, ["c5"]),
        (0.8, []),
        (FULL_DEPTH, ["b9", "e9", "f9", "i9"]),
    ):
        done, _ = tag(tmp_path, threshold, f"at {threshold}")
        assert done == expected
        check_is_whole(tmp_path, threshold)


def test_tags_of_later_exits_than_needed_are_left_alone(
    tmp_path: Path,
) -> None:
    """As after a run with a deadline, whose thresholds change."""
    output = Output(tmp_path)
    output.claim(run_file(thresholds=(0.2,)), overwrite=False)
    ledger = Ledger(output.tables(), GMACS, "first", None, TagRequirements((0.2,)))
    first, *others = shards_of()
    work_off(ledger, [first], 0.6, "first", set())
    work_off(ledger, others, 0.2, "first", set())
    output.release()
    assert tag(tmp_path, 0.6, "second", dead=set())[0] == ["g3", "h5"]
    check_is_whole(tmp_path, 0.6, dead=set())


def test_an_unfinished_run_is_continued_by_stricter_thresholds(tmp_path: Path) -> None:
    output = Output(tmp_path)
    output.claim(run_file(thresholds=(0.2,)), overwrite=False)
    ledger = Ledger(output.tables(), GMACS, "first", None, TagRequirements((0.2,)))
    first, second = shards_of()
    work_off(ledger, [first], 0.2, "first", DEAD)
    number, _ = ledger.open(second)
    file = ledger.tag_writer.write(tag_table(list(second.images[1:2]), second.name, 0.2, "first"))
    ledger.commit(file, [], {number: Counts(np.array([1, 0]))})
    output.release()
    done, totals = tag(tmp_path, 0.6, "second")
    assert done == ["c5", "f9", "g3", "h5", "i9"]
    assert totals.totals.num_retagged == 2
    check_is_whole(tmp_path, 0.6)


def test_a_copy_below_the_thresholds_is_done_again_too(tmp_path: Path) -> None:
    output = Output(tmp_path)
    output.claim(run_file(thresholds=(0.2,)), overwrite=False)
    ledger = Ledger(output.tables(), GMACS, "first", None, TagRequirements((0.2,)))
    shard = shards_of(("a5", "b5", "c9"))[0]
    number, _ = ledger.open(shard)
    rows = tag_table(list(shard.images), shard.name, 0.2, "first").to_pylist()
    rows[1]["gmacs"] = 0.0
    file = ledger.tag_writer.write(pa.Table.from_pylist(rows, schema=TAGS_SCHEMA))
    ledger.commit(file, [], {number: Counts(np.array([3, 0]), copies=np.array([1, 0]))})
    output.release()
    output.claim(run_file(thresholds=(0.6,)), overwrite=False)
    ledger = Ledger(
        output.tables(), GMACS, "second", None, TagRequirements((0.6,)), retag_finished=True
    )
    number, todo = ledger.open(shard)
    assert todo.tolist() == [0, 1]
    rows = tag_table(list(shard.images[:2]), shard.name, 0.6, "second").to_pylist()
    rows[1]["gmacs"] = 0.0
    file = ledger.tag_writer.write(pa.Table.from_pylist(rows, schema=TAGS_SCHEMA))
    ledger.commit(file, [], {number: Counts(np.array([0, 2]), copies=np.array([0, 1]))})
    output.release()
    (recorded,) = rows_by_duckdb(tmp_path / "shards")
    assert (recorded["exits"], recorded["copies"], recorded["gmacs"]) == ([1, 2], [0, 1], 4.0)


def test_with_keys_in_no_order_the_tags_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = np.random.default_rng(0).permutation(60)
    keys = tuple(f"{chr(97 + n % 26)}{n % 10}-{n}" for n in numbers.tolist())
    tag(tmp_path, 0.2, "first", keys, dead={keys[3]})
    num_read = {"batches": 0, "_batches": 0}

    def counted(kind: type, name: str) -> None:
        read = getattr(kind, name)

        def count(*arguments: Any) -> Any:
            num_read[name] += 1
            return read(*arguments)

        monkeypatch.setattr(kind, name, count)

    counted(OutputTable, "batches")
    counted(KeyLookup, "_batches")
    done, ledger = tag(tmp_path, 0.6, "second", keys, dead=set())
    below = {key for key in keys if 0.2 <= confidence_of(key) < 0.6 and key != keys[3]}
    assert sorted(done) == sorted(below)
    assert num_read == {"batches": 1, "_batches": 0}
    assert len({shard.name for shard in shards_of(keys)}) >= 12
    assert {key for key, (run, _) in tags_in(tmp_path).items() if run == "second"} == below
    exits = [stage for _, stage in tags_in(tmp_path).values()]
    assert ledger.totals.all_runs.exits.tolist() == [exits.count(1), exits.count(2)]
    in_shards = np.array([row["exits"] for row in rows_by_duckdb(tmp_path / "shards")])
    assert in_shards.sum(axis=0).tolist() == [exits.count(1), exits.count(2)]


@pytest.mark.parametrize("later", ["c5", "b9", "f9"])
def test_shards_whose_tags_name_shards_of_a_smaller_archive_are_compared(
    tmp_path: Path, later: str
) -> None:
    tag(tmp_path, 0.2, "first", tuple(key for key in KEYS if key != later))
    assert tag(tmp_path, 0.2, "grown")[0] == [later]
    assert tag(tmp_path, 0.6, "stricter")[0] == ["c5", "g3"]
    tags = tags_in(tmp_path)
    assert {key: stage for key, (_, stage) in tags.items()} == {
        key: exit_at(key, 0.6) for key in KEYS if key not in DEAD
    }


def test_an_image_that_can_no_longer_be_read_becomes_a_dead_letter(tmp_path: Path) -> None:
    tag(tmp_path, 0.2, "first")
    assert tag(tmp_path, 0.6, "second", dead=DEAD | {"g3"})[0] == ["c5", "g3"]
    check_is_whole(tmp_path, 0.6, dead=DEAD | {"g3"})


def test_shards_that_the_retag_run_did_not_list_are_compared_when_listed_again(
    tmp_path: Path,
) -> None:
    tag(tmp_path, 0.2, "first")
    assert tag(tmp_path, 0.6, "second", keys=KEYS[:5])[0] == ["c5"]
    done, ledger = tag(tmp_path, 0.6, "third")
    assert done == ["g3"]
    assert ledger.totals.num_skipped == 8
    check_is_whole(tmp_path, 0.6)


def test_a_retry_during_retagging_does_only_dead_letters_and_leaves_the_rest(
    tmp_path: Path,
) -> None:
    tag(tmp_path, 0.2, "first")
    output = Output(tmp_path)
    output.claim(run_file(thresholds=(0.6,)), overwrite=False)  # and is killed
    output.release()
    done, _ = tag(tmp_path, 0.6, "retry", dead=set(), retry=tuple(Reason))
    assert done == ["d9", "h5"]
    assert not (tmp_path / "_SUCCESS").exists()
    assert tags_in(tmp_path)["g3"] == ("first", 1)
    assert tags_in(tmp_path)["h5"] == ("retry", 2)
    assert tag(tmp_path, 0.6, "second", dead=set())[0] == ["c5", "g3"]
    check_is_whole(tmp_path, 0.6, dead=set())


def test_a_kill_between_any_two_steps_is_repaired_by_the_same_or_a_stricter_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retag run is killed after each of its writes in turn."""
    transact, write = DeltaLog._commit, Output._write_run
    dead = DEAD | {"g3"}  # of the two that are done again, one cannot be read any more
    tag(tmp_path / "before", 0.2, "first")
    for allowed in range(100):
        folder = tmp_path / f"{allowed}"
        shutil.copytree(tmp_path / "before", folder)
        num_made = 0

        def allow(_allowed: int = allowed) -> None:
            nonlocal num_made
            if num_made == _allowed:
                raise Killed
            num_made += 1

        def counted_transact(self: DeltaLog, *arguments: Any, _allow: Any = allow) -> None:
            _allow()
            transact(self, *arguments)

        def counted_write(self: Output, *arguments: Any, _allow: Any = allow) -> None:
            _allow()
            write(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(DeltaLog, "_commit", counted_transact)
            patch.setattr(Output, "_write_run", counted_write)
            try:
                tag(folder, 0.6, "second", dead=dead)
                survived = True
            except Killed:
                survived = False
        letters = {row["key"] for row in rows_by_duckdb(folder / "dead_letters")}
        assert set(tags_in(folder)) | letters == set(KEYS), "an image is in neither table"
        assert survived or not (folder / "_SUCCESS").exists()
        is_same = allowed % 2 == 0
        tag(folder, 0.6 if is_same else 0.95, "third", dead=dead)
        kept = {key for key, (run, _) in tags_in(folder).items() if run == "first"}
        # The other tags are as the first run left them.
        assert kept == ({"a1", "b9", "e9", "f9", "i9"} if is_same else {"a1"})
        check_is_whole(folder, 0.6 if is_same else 0.95, dead)
        if survived:
            check_every_version(folder)
            assert allowed >= 10, "the run must have some steps"
            return
    raise AssertionError("no run survived")
