"""When results are committed, and that each is committed once."""

from typing import Any, cast

import numpy as np
import pytest

from pipeline.errors import Reason
from pipeline.output.counts import Counts
from pipeline.output.ledger import Ledger
from pipeline.output.parquet_files import WrittenFile
from pipeline.output.results import Results
from pipeline.records import DeadLetter
from pipeline.scheduling import Origins

FILE = WrittenFile("a file", 100, 4, "{}")
LETTER = DeadLetter("key", "uri", Reason.TRUNCATED, "cut", 1, "shard", None)


class RecordingLedger:
    """Stands in for the ledger: keeps what is committed."""

    def __init__(self) -> None:
        self.commits: list[tuple[WrittenFile | None, int, dict[int, Counts]]] = []

    def commit(
        self, file: WrittenFile | None, letters: list[DeadLetter], counts: dict[int, Counts]
    ) -> None:
        self.commits.append((file, len(letters), counts))


class Clock:
    """A clock that is set by hand."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def ledger() -> RecordingLedger:
    return RecordingLedger()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def results(ledger: RecordingLedger, clock: Clock) -> Results:
    return Results(cast(Ledger, ledger), 3, clock)


def add(results: Results, table: Any, *exit_stages: int, shard: int = 0) -> None:
    number = len(exit_stages)
    origins = Origins(np.full(number, shard), np.arange(number))
    results.add_predictions(table, origins, np.array(exit_stages))


def add_many(results: Results, num_images: int) -> None:
    origins = Origins(np.zeros(num_images, int), np.arange(num_images))
    results.add_predictions("a large table", origins, np.ones(num_images, int))


def test_tables_are_committed_together_once_their_file_is_written(
    results: Results, ledger: RecordingLedger
) -> None:
    add(results, "a", 1, 1, 2, 3)
    add(results, "b", 3, shard=7)
    results.add_unpredicted(7, [LETTER])
    assert results.start_commit(at_once=True)
    assert results.tables_in_progress == ["a", "b"]
    assert not ledger.commits
    assert not results.are_committed
    results.commit(FILE)
    ((file, num_letters, counts),) = ledger.commits
    assert (file, num_letters) == (FILE, 1)
    assert counts[0].exits.tolist() == [2, 1, 1]
    assert (counts[7].exits.tolist(), counts[7].num_dead_letters) == ([0, 0, 1], 1)
    assert results.counts.exits.tolist() == [2, 1, 2]
    assert results.are_committed


def test_dead_letters_need_no_file(results: Results, ledger: RecordingLedger) -> None:
    results.add_unpredicted(0, [LETTER])
    assert results.start_commit(at_once=True)
    assert results.tables_in_progress == []
    results.commit(None)
    ((file, num_letters, _),) = ledger.commits
    assert (file, num_letters) == (None, 1)
    assert results.are_committed


def test_one_commit_is_in_progress_at_a_time(results: Results) -> None:
    add(results, "a", 1)
    assert results.start_commit(at_once=True)
    assert results.tables_in_progress == ["a"]
    add(results, "b", 1)
    assert not results.start_commit(at_once=True)
    assert results.tables_in_progress == ["a"], "a writer that restarts writes the same again"
    results.commit(FILE)
    assert results.start_commit(at_once=True)
    assert results.tables_in_progress == ["b"]


def test_a_file_cannot_be_committed_twice(results: Results) -> None:
    add(results, "a", 1)
    results.start_commit(at_once=True)
    results.commit(FILE)
    with pytest.raises(AssertionError, match="no commit is in progress"):
        results.commit(FILE)


def test_images_of_lost_tables_are_withdrawn_and_returned(
    results: Results, ledger: RecordingLedger
) -> None:
    add(results, "a", 1, 2)
    add(results, "b", 3, shard=7)
    results.start_commit(at_once=True)
    restarted = results.drop_lost(["b"])
    assert [(shard, rows.tolist()) for shard, rows in restarted] == [(7, [0])]
    assert results.tables_in_progress == ["a"]
    assert results.counts.exits.tolist() == [1, 1, 0]
    results.commit(FILE)
    ((_, _, counts),) = ledger.commits
    assert counts[7].num_done == 0


def test_without_any_table_left_the_dead_letters_are_committed(
    results: Results, ledger: RecordingLedger
) -> None:
    add(results, "a", 1, 2)
    results.add_unpredicted(0, [LETTER])
    results.start_commit(at_once=True)
    results.drop_lost(["a"])
    assert results.tables_in_progress == []
    results.commit(None)
    ((file, num_letters, counts),) = ledger.commits
    assert (file, num_letters, counts[0].num_done) == (None, 1, 1)
    assert results.are_committed


def test_the_first_results_are_committed_after_a_second(results: Results, clock: Clock) -> None:
    add(results, "a", 1)
    clock.now_s += 0.5
    assert not results.start_commit(at_once=False)
    clock.now_s += 0.6
    assert results.start_commit(at_once=False)


def test_the_interval_grows_to_half_a_minute_and_no_further(results: Results, clock: Clock) -> None:
    started_s, committed_s = clock.now_s, []
    for tenth in range(36_000):
        clock.now_s = started_s + tenth / 10
        add(results, "a", 1)
        if results.start_commit(at_once=False):
            results.commit(FILE)
            committed_s.append(tenth / 10)
    assert committed_s[0] <= 1.1
    assert np.diff(committed_s).max() <= 30.2
    assert len(committed_s) < 250


def test_many_images_are_committed_before_their_time(results: Results) -> None:
    add_many(results, 99_999)
    assert not results.start_commit(at_once=False)
    add(results, "b", 1)
    assert results.start_commit(at_once=False)
    assert results.tables_in_progress == ["a large table", "b"]


def test_what_waits_for_a_slow_writer_is_bounded(results: Results) -> None:
    num_tables = 0
    while not results.are_behind:
        add_many(results, 50_000)
        results.start_commit(at_once=False)
        num_tables += 1
    assert num_tables == 7, "100,000 images are with the writer, and more than 200,000 wait"
