"""Stricter thresholds on real tables: what is done again, also after a kill between any two steps.

An image's confidence at exit 1 is told by its key: "a3" has 0.3. At exit 2 all leave.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipeline.errors import Reason
from pipeline.ledger import Ledger
from pipeline.output import Output, Summary
from pipeline.records import TAGS_SCHEMA, DeadLetter, ImageRecord
from pipeline.shards import Shard, cut_shards
from pipeline.table import OutputTable
from pipeline.tally import Tally
from tests.command_line import rows as rows_by_duckdb
from tests.pipeline.output.fake_run import GMACS, run_file

FULL_DEPTH = 2.0
KEYS = ("a1", "b9", "c5", "d9", "e9", "f9", "g3", "h5", "i9")
DEAD = {"d9", "h5"}


class Killed(BaseException):
    """Stands for the end of the process."""


def confidence_of(key: str) -> float:
    return int(key[1]) / 10


def exit_at(key: str, threshold: float) -> int:
    return 1 if confidence_of(key) >= threshold else 2


def shards_of(keys: tuple[str, ...] = KEYS) -> list[Shard]:
    images = [ImageRecord(key, f"file:///{key}", 1, "e") for key in keys]
    return list(cut_shards(images, mean_length=10**9, max_length=5))


def tag_table(images: list[ImageRecord], shard: str, threshold: float, run: str) -> pa.Table:
    rows = [
        {
            "key": image.key,
            "etag": image.etag,
            "exit_stage": (stage := exit_at(image.key, threshold)),
            "exit_confidences": [confidence_of(image.key), 0.05][:stage],
            "gmacs": GMACS[stage - 1],
            "label": run,
            "shard": shard,
        }
        for image in images
    ]
    return pa.Table.from_pylist(rows, schema=TAGS_SCHEMA)


def work_off(
    ledger: Ledger, shards: list[Shard], threshold: float, run: str, dead: set[str]
) -> list[str]:
    """Does what there is to do, two commits a shard; returns the keys."""
    done: list[str] = []
    for shard in shards:
        number, rows = ledger.open(shard)
        for part in np.array_split(rows, 2):
            images = [shard.images[row] for row in part]
            if not images:
                continue
            done += [image.key for image in images]
            good = [image for image in images if image.key not in dead]
            exits = np.bincount([exit_at(i.key, threshold) - 1 for i in good], minlength=2)
            letters = [
                DeadLetter(i.key, i.uri, Reason.FETCH_FAILED, run, 1, shard.name)
                for i in images
                if i.key in dead
            ]
            table = tag_table(good, shard.name, threshold, run)
            file = ledger.tag_writer.write(table) if good else None
            ledger.commit(file, letters, {number: Tally(exits, len(letters))})
    ledger.commit(None, [], {})
    return done


def tag(
    folder: Path,
    threshold: float,
    run: str,
    keys: tuple[str, ...] = KEYS,
    dead: set[str] = DEAD,
    retry: tuple[Reason, ...] | None = None,
) -> tuple[list[str], Ledger]:
    """`dvt tag` (or `dvt retry`) without a model; returns which images it did."""
    output = Output(folder)
    claimed = output.claim(run_file(thresholds=(threshold,)), overwrite=False)
    try:
        is_upgrade = claimed.reached is not None
        ledger = Ledger(*output.tables(), GMACS, run, retry, (threshold,), is_upgrade)
        done = work_off(ledger, shards_of(keys), threshold, run, dead)
        assert ledger.is_complete
        if is_upgrade and retry is None:
            ledger.forget_unlisted()
        output.merge_files()
        all_runs = ledger.totals.all_runs
        summary = Summary(
            images=ledger.totals.num_images,
            tagged=all_runs.num_tagged,
            dead_letters=all_runs.num_dead_letters,
            skipped=0,
            exits=tuple(all_runs.exits.tolist()),
            gmacs_per_image=None,
            gmacs_full_depth=GMACS[-1],
            seconds=0.0,
            images_per_second=None,
            out=str(folder),
        )
        output.complete(summary, is_whole=retry is None or not is_upgrade)
    finally:
        output.release()
    return done, ledger


def tags_in(folder: Path) -> dict[str, tuple[str, int]]:
    """Key to run and exit, by DuckDB; a key that is there twice fails."""
    found = rows_by_duckdb(folder / "tags")
    assert len({row["key"] for row in found}) == len(found), "a key is there twice"
    return {row["key"]: (row["label"], row["exit_stage"]) for row in found}


def check_is_whole(folder: Path, threshold: float, dead: set[str] = DEAD) -> None:
    """The tables and sums are those of a fresh run by these thresholds."""
    tags = tags_in(folder)
    assert {key: stage for key, (_, stage) in tags.items()} == {
        key: exit_at(key, threshold) for key in KEYS if key not in dead
    }
    assert {row["key"] for row in rows_by_duckdb(folder / "dead_letters")} == dead
    shards = rows_by_duckdb(folder / "shards")
    assert sorted(row["shard"] for row in shards) == sorted(shard.name for shard in shards_of())
    exits = np.array([row["exits"] for row in shards]).sum(axis=0).tolist()
    stages = [stage for _, stage in tags.values()]
    assert exits == [stages.count(1), stages.count(2)]
    assert sum(row["gmacs"] for row in shards) == sum(GMACS[stage - 1] for stage in stages)
    summary = Summary.model_validate_json((folder / "summary.json").read_bytes())
    assert list(summary.exits) == exits
    assert (summary.tagged, summary.dead_letters) == (len(tags), len(dead))
    assert (folder / "_SUCCESS").exists()
    run = Output(folder).run_file()
    assert run is not None
    assert run.reached is None


def check_every_version(folder: Path) -> None:
    """No image was ever without a row or had two, in any version of `tags` since the first run."""
    newest = DeltaTable(folder / "tags").version()
    for version in range(newest + 1):
        keys = DeltaTable(folder / "tags", version=version).to_pyarrow_table()["key"].to_pylist()
        assert len(keys) == len(set(keys)), f"version {version}"


def test_exactly_the_images_that_left_too_early_are_done_again(tmp_path: Path) -> None:
    tag(tmp_path, 0.2, "first")
    done, ledger = tag(tmp_path, 0.6, "second")
    assert done == ["c5", "g3"]
    assert (ledger.totals.num_too_early, ledger.totals.num_tagged_before) == (2, 7)
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


def test_rows_that_went_deeper_than_the_earlier_thresholds_asked_for_are_left_alone(
    tmp_path: Path,
) -> None:
    """As after a run whose thresholds were not the same for all images."""
    output = Output(tmp_path)
    output.claim(run_file(thresholds=(0.2,)), overwrite=False)
    ledger = Ledger(*output.tables(), GMACS, "first", None, (0.2,))
    first, *others = shards_of()
    work_off(ledger, [first], 0.6, "first", set())
    work_off(ledger, others, 0.2, "first", set())
    output.release()
    assert tag(tmp_path, 0.6, "second", dead=set())[0] == ["g3", "h5"]
    check_is_whole(tmp_path, 0.6, dead=set())


def test_an_unfinished_run_is_continued_by_stricter_thresholds(tmp_path: Path) -> None:
    output = Output(tmp_path)
    output.claim(run_file(thresholds=(0.2,)), overwrite=False)
    ledger = Ledger(*output.tables(), GMACS, "first", None, (0.2,))
    first, second = shards_of()
    work_off(ledger, [first], 0.2, "first", DEAD)
    number, _ = ledger.open(second)
    file = ledger.tag_writer.write(tag_table(list(second.images[1:2]), second.name, 0.2, "first"))
    ledger.commit(file, [], {number: Tally(np.array([1, 0]))})
    output.release()
    done, totals = tag(tmp_path, 0.6, "second")
    assert done == ["c5", "f9", "g3", "h5", "i9"]
    assert totals.totals.num_too_early == 2
    check_is_whole(tmp_path, 0.6)


def test_a_copy_that_left_too_early_is_done_again_too(tmp_path: Path) -> None:
    output = Output(tmp_path)
    output.claim(run_file(thresholds=(0.2,)), overwrite=False)
    ledger = Ledger(*output.tables(), GMACS, "first", None, (0.2,))
    shard = shards_of(("a5", "b5", "c9"))[0]
    number, _ = ledger.open(shard)
    rows = tag_table(list(shard.images), shard.name, 0.2, "first").to_pylist()
    rows[1]["gmacs"] = 0.0
    file = ledger.tag_writer.write(pa.Table.from_pylist(rows, schema=TAGS_SCHEMA))
    ledger.commit(file, [], {number: Tally(np.array([3, 0]), copies=np.array([1, 0]))})
    output.release()
    output.claim(run_file(thresholds=(0.6,)), overwrite=False)
    ledger = Ledger(*output.tables(), GMACS, "second", None, (0.6,), is_upgrade=True)
    number, todo = ledger.open(shard)
    assert todo.tolist() == [0, 1]
    rows = tag_table(list(shard.images[:2]), shard.name, 0.6, "second").to_pylist()
    rows[1]["gmacs"] = 0.0
    file = ledger.tag_writer.write(pa.Table.from_pylist(rows, schema=TAGS_SCHEMA))
    ledger.commit(file, [], {number: Tally(np.array([0, 2]), copies=np.array([0, 1]))})
    output.release()
    (recorded,) = rows_by_duckdb(tmp_path / "shards")
    assert (recorded["exits"], recorded["copies"], recorded["gmacs"]) == ([1, 2], [0, 1], 4.0)


def test_an_image_that_cannot_be_read_any_more_becomes_a_dead_letter(tmp_path: Path) -> None:
    tag(tmp_path, 0.2, "first")
    assert tag(tmp_path, 0.6, "second", dead=DEAD | {"g3"})[0] == ["c5", "g3"]
    check_is_whole(tmp_path, 0.6, dead=DEAD | {"g3"})


def test_shards_that_the_upgrade_did_not_list_are_compared_when_they_come_back(
    tmp_path: Path,
) -> None:
    tag(tmp_path, 0.2, "first")
    assert tag(tmp_path, 0.6, "second", keys=KEYS[:5])[0] == ["c5"]
    done, ledger = tag(tmp_path, 0.6, "third")
    assert done == ["g3"]
    assert ledger.totals.num_skipped == 8
    check_is_whole(tmp_path, 0.6)


def test_a_retry_amid_an_upgrade_does_only_dead_letters_and_leaves_the_rest_to_be_done(
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


def test_a_kill_between_any_two_steps_is_made_good_by_the_same_or_a_stricter_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every write of the upgrade, to a table or beside them, is once the last before a kill."""
    transact, write = OutputTable._transact, Output._write_run
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

        def counted_transact(self: OutputTable, *arguments: Any, _allow: Any = allow) -> None:
            _allow()
            transact(self, *arguments)

        def counted_write(self: Output, *arguments: Any, _allow: Any = allow) -> None:
            _allow()
            write(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(OutputTable, "_transact", counted_transact)
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
        # What needed no second look is as the first run left it.
        assert kept == ({"a1", "b9", "e9", "f9", "i9"} if is_same else {"a1"})
        check_is_whole(folder, 0.6 if is_same else 0.95, dead)
        if survived:
            check_every_version(folder)
            assert allowed >= 10, "the upgrade must have had some steps"
            return
    raise AssertionError("no upgrade came to its end")
