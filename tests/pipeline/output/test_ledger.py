"""The ledger on real Delta tables in a folder."""

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipeline.errors import Reason
from pipeline.output.counts import Counts
from pipeline.output.delta_log import DeltaLog
from pipeline.output.ledger import Ledger
from pipeline.records import TAGS_SCHEMA, DeadLetter, ImageRecord
from pipeline.sources.sharding import Shard, cut_shards
from tests.command_line import rows as rows_by_duckdb
from tests.pipeline.output.tables import tables_in

GMACS = (1.0, 3.0)


def shard_of(*keys: str) -> Shard:
    name = f"shard-{keys[0]}-{len(keys)}"
    return Shard(name, tuple(ImageRecord(key, f"file:///{key}", 1) for key in keys))


def tags(shard: Shard, exit_of_key: dict[str, int], copies: str = "") -> pa.Table:
    rows = [
        {
            "key": key,
            "exit_stage": stage,
            "shard": shard.name,
            "label": "x",
            "gmacs": 0.0 if key in copies else GMACS[stage - 1],
        }
        for key, stage in exit_of_key.items()
    ]
    return pa.Table.from_pylist(rows, schema=TAGS_SCHEMA)


def ledger_in(folder: Path, epoch: int = 1, retry: tuple[Reason, ...] | None = None) -> Ledger:
    return Ledger(tables_in(folder, epoch), GMACS, f"run-{epoch}", retry)


def commit(ledger: Ledger, shard: Shard, number: int, exit_of_key: dict[str, int]) -> None:
    file = ledger.tag_writer.write(tags(shard, exit_of_key))
    exits = np.bincount(np.array(list(exit_of_key.values())) - 1, minlength=2)
    ledger.commit(file, [], {number: Counts(exits)})


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


def test_what_is_to_do_is_estimated_before_all_is_listed(tmp_path: Path) -> None:
    shards = [shard_of("a", "b"), shard_of("c", "d"), shard_of("e", "f")]
    first = ledger_in(tmp_path)
    assert first.totals.num_to_do(6) == 6
    for shard, keys in zip(shards, ("ab", "cd", "e"), strict=True):
        number, _ = first.open(shard)
        commit(first, shard, number, dict.fromkeys(keys, 1))
    second = ledger_in(tmp_path, 2)
    for shard in shards:
        assert second.totals.num_to_do(6) == 1
        second.open(shard)
    assert second.totals.num_to_do(6) == 1


def test_in_an_unfinished_shard_only_keys_without_a_result_are_to_do(tmp_path: Path) -> None:
    shard = shard_of("a", "b", "c", "d")
    first = ledger_in(tmp_path)
    number, _ = first.open(shard)
    commit(first, shard, number, {"b": 2})
    letter = DeadLetter("d", "file:///d", Reason.TRUNCATED, "cut", 1, shard.name, None)
    counts = Counts.zero(2)
    counts.num_dead_letters = 1
    first.commit(None, [letter], {number: counts})
    second = ledger_in(tmp_path, 2)
    number, rows = second.open(shard)
    assert rows.tolist() == [0, 2]
    commit(second, shard, number, {"a": 1, "c": 1})
    assert second.is_complete
    with duckdb.connect() as connection:
        (row,) = connection.read_parquet(f"{tmp_path}/shards/*.parquet").fetchall()
    assert row[3:8] == (4, 3, 1, 0, [2, 1])
    assert row[8] == 2 * 1.0 + 1 * 3.0


def test_copies_cost_nothing_in_the_sums_of_this_and_later_runs(tmp_path: Path) -> None:
    gmacs = np.array(GMACS)
    shard = shard_of("a", "b", "c")
    first = ledger_in(tmp_path)
    number, _ = first.open(shard)
    file = first.tag_writer.write(tags(shard, {"a": 2, "b": 2}, copies="b"))
    counts = Counts(np.array([0, 2]), copies=np.array([0, 1]))
    first.commit(file, [], {number: counts})
    assert first.totals.this_run.gmacs(gmacs) == 3.0
    second = ledger_in(tmp_path, 2)
    number, rows = second.open(shard)
    assert rows.tolist() == [2]
    assert second.totals.all_runs.gmacs(gmacs) == 3.0
    commit(second, shard, number, {"c": 1})
    with duckdb.connect() as connection:
        shards = connection.read_parquet(f"{tmp_path}/shards/*.parquet")
        assert shards.select("exits, gmacs, copies").fetchall() == [([1, 2], 4.0, [0, 1])]
    third = ledger_in(tmp_path, 3)
    third.open(shard)
    assert third.totals.all_runs.gmacs(gmacs) == 4.0


def test_a_crash_before_the_row_of_a_finished_shard_is_repaired(tmp_path: Path) -> None:
    shard = shard_of("a", "b")
    first = ledger_in(tmp_path)
    first.open(shard)
    # The run dies after committing the tags and before recording the shard.
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


def test_in_a_grown_archive_only_the_new_image_is_done(tmp_path: Path) -> None:
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


def image(key: str, etag: str | None = None) -> ImageRecord:
    return ImageRecord(key, f"file:///{key}", 1, etag)


def tagged(images: list[ImageRecord], shard: str) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"key": i.key, "etag": i.etag, "exit_stage": 1, "shard": shard, "label": str(i.etag)}
            for i in images
        ],
        schema=TAGS_SCHEMA,
    )


def work_off(ledger: Ledger, shards: list[Shard], dead: set[str]) -> list[str]:
    """Does what is to do, in one commit a shard; images in `dead` cannot be read."""
    done = []
    for shard in shards:
        number, rows = ledger.open(shard)
        images = [shard.images[row] for row in rows]
        done += [i.key for i in images]
        good = [i for i in images if i.key not in dead]
        letters = [
            DeadLetter(i.key, i.uri, Reason.FETCH_FAILED, "gone", 1, shard.name, i.etag)
            for i in images
            if i.key in dead
        ]
        file = ledger.tag_writer.write(tagged(good, shard.name)) if good else None
        if images:
            counts = Counts(np.array([len(good), 0]), len(letters))
            ledger.commit(file, letters, {number: counts})
    ledger.commit(None, [], {})
    return done


def tables_of(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Key to label and key to reason, by DuckDB; fails on duplicate keys."""
    found = []
    for name, column in (("tags", "label"), ("dead_letters", "reason")):
        pairs = [(r["key"], r[column]) for r in rows_by_duckdb(folder / name)]
        assert len(pairs) == len(dict(pairs)), f"duplicate keys in {name}"
        found.append(dict(pairs))
    return found[0], found[1]


def version_sweep(folder: Path) -> None:
    """No version of `tags` has duplicate keys."""
    newest = DeltaTable(folder / "tags").version()
    for version in range(newest + 1):
        keys = DeltaTable(folder / "tags", version=version).to_pyarrow_table()["key"].to_pylist()
        assert len(keys) == len(set(keys)), f"version {version}"


def cut(*images: ImageRecord) -> list[Shard]:
    return list(cut_shards(images, mean_length=10**9, max_length=3))


BEFORE = [image(key, "1") for key in "abcdef"]


def test_changed_content_is_tagged_again_and_replaces_its_row(tmp_path: Path) -> None:
    work_off(ledger_in(tmp_path, 1), cut(*BEFORE), {"b", "c", "f"})
    # a, b and d have new content; b can be read now, d cannot any more; c stays a dead letter.
    now = [image("a", "2"), image("b", "2"), BEFORE[2], image("d", "2"), *BEFORE[4:]]
    second = ledger_in(tmp_path, 2)
    assert work_off(second, cut(*now), {"d"}) == ["a", "b", "d"]
    tags, letters = tables_of(tmp_path)
    assert tags == {"a": "2", "b": "2", "e": "1"}
    assert set(letters) == {"c", "d", "f"}
    assert second.is_complete
    assert second.totals.all_runs.num_tagged == 3
    assert second.totals.all_runs.num_dead_letters == 3
    assert second.totals.num_skipped == 3
    version_sweep(tmp_path)
    assert work_off(ledger_in(tmp_path, 3), cut(*now), set()) == []


def test_sources_without_etags_never_count_as_changed(tmp_path: Path) -> None:
    plain = [image(key) for key in "abc"]
    work_off(ledger_in(tmp_path, 1), cut(*plain), set())
    assert work_off(ledger_in(tmp_path, 2), cut(*plain, image("d")), set()) == ["d"]


def test_an_etag_that_appears_counts_as_a_change_and_one_that_vanishes_does_not(
    tmp_path: Path,
) -> None:
    work_off(ledger_in(tmp_path, 1), cut(image("a"), image("b", "1")), set())
    now = cut(image("a", "1"), image("b"))
    assert work_off(ledger_in(tmp_path, 2), now, set()) == ["a"]


def test_an_archive_that_changes_back_is_not_taken_for_unchanged(tmp_path: Path) -> None:
    changed = [image("a", "2"), *BEFORE[1:]]
    work_off(ledger_in(tmp_path, 1), cut(*BEFORE), set())
    assert work_off(ledger_in(tmp_path, 2), cut(*changed), set()) == ["a"]
    assert work_off(ledger_in(tmp_path, 3), cut(*BEFORE), set()) == ["a"]
    assert tables_of(tmp_path)[0]["a"] == "1"


def test_a_retry_leaves_changed_images_to_an_ordinary_run(tmp_path: Path) -> None:
    work_off(ledger_in(tmp_path, 1), cut(*BEFORE), {"b", "f"})
    now = cut(image("a", "2"), image("b", "2"), *BEFORE[2:])
    retry = ledger_in(tmp_path, 2, (Reason.TRUNCATED,))
    assert work_off(retry, now, set()) == []
    assert retry.totals.num_left == 2
    assert work_off(ledger_in(tmp_path, 3), now, set()) == ["a", "b"]


def test_a_retry_does_only_the_dead_letters_of_the_chosen_reasons(
    tmp_path: Path,
) -> None:
    shards = cut(*BEFORE)
    work_off(ledger_in(tmp_path, 1), shards, {"b", "f"})
    other = ledger_in(tmp_path, 2, (Reason.TRUNCATED,))
    assert other.num_to_retry == 0
    assert work_off(other, shards, set()) == []
    retry = ledger_in(tmp_path, 3, (Reason.FETCH_FAILED, Reason.TRUNCATED))
    assert retry.num_to_retry == 2
    assert work_off(retry, shards, {"f"}) == ["b", "f"]
    tags, letters = tables_of(tmp_path)
    assert set(tags) == set("abcde")
    assert set(letters) == {"f"}
    assert retry.is_complete
    assert retry.totals.num_left == 0
    assert (retry.totals.num_skipped, retry.totals.all_runs.num_tagged) == (4, 5)
    third = ledger_in(tmp_path, 4)
    assert work_off(third, shards, set()) == []
    assert (third.totals.all_runs.num_tagged, third.totals.all_runs.num_dead_letters) == (5, 1)


def test_a_retry_leaves_images_without_a_result_to_an_ordinary_run(tmp_path: Path) -> None:
    shards = cut(*BEFORE)
    work_off(ledger_in(tmp_path, 1), shards[:1], {"b"})
    retry = ledger_in(tmp_path, 2, tuple(Reason))
    assert work_off(retry, shards, set()) == ["b"]
    assert retry.totals.num_left == 3
    assert retry.is_complete
    assert work_off(ledger_in(tmp_path, 3), shards, set()) == ["d", "e", "f"]


class Killed(BaseException):
    """The end of the process."""


@pytest.mark.parametrize("retrying", [False, True])
def test_a_crash_between_any_two_steps_is_repaired_by_the_next_command(
    tmp_path: Path, retrying: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is killed after each of its commits in turn."""
    now = (
        BEFORE
        if retrying
        else [image("a", "2"), image("b", "2"), *BEFORE[2:4], image("e", "3"), BEFORE[5]]
    )
    reasons = (Reason.FETCH_FAILED,) if retrying else None
    transact = DeltaLog._commit
    for allowed in range(100):
        folder = tmp_path / f"{allowed}"
        work_off(ledger_in(folder, 1), cut(*BEFORE), {"b", "c", "f"})
        ledger = ledger_in(folder, 2, reasons)
        num_made = 0

        def counted(self: DeltaLog, *arguments: Any, _allowed: int = allowed) -> None:
            nonlocal num_made
            if num_made == _allowed:
                raise Killed
            num_made += 1
            transact(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(DeltaLog, "_commit", counted)
            try:
                work_off(ledger, cut(*now), {"a"})
                survived = True
            except Killed:
                survived = False
        tags, letters = tables_of(folder)
        assert set(tags) | set(letters) == set("abcdef"), "an image is in neither table"
        # The next command, of either kind, repairs everything.
        repaired = ledger_in(folder, 3, reasons if allowed % 2 else None)
        work_off(repaired, cut(*now), {"a"})
        final = ledger_in(folder, 4, reasons)
        work_off(final, cut(*now), {"a"})
        tags, letters = tables_of(folder)
        assert not set(tags) & set(letters), "an image is in both tables"
        assert set(tags) | set(letters) == set("abcdef")
        assert final.totals.all_runs.num_tagged == len(tags)
        assert final.totals.all_runs.num_dead_letters == len(letters)
        version_sweep(folder)
        if survived:
            assert allowed >= 4, "the run must have some steps"
            return
    raise AssertionError("no run survived")
