"""Results on their way: what is written twice is committed once."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from pipeline.output.commit_queue import CommitQueue
from pipeline.output.counts import Counts
from pipeline.output.ledger import Ledger
from pipeline.output.parquet_files import WrittenFile
from pipeline.output.results import Results
from pipeline.scheduling import Origins


class CommitsOnly:
    """In place of the ledger."""

    def __init__(self) -> None:
        self.commits: list[tuple[Any, dict[int, Counts]]] = []

    def commit(self, file: Any, letters: list[Any], counts: dict[int, Counts]) -> None:
        self.commits.append((file, counts))


class SlowWriter:
    """Keeps what it is to do until it is told that it was done."""

    def __init__(self) -> None:
        self.written: list[Callable[[Any], None]] = []

    def __call__(
        self,
        tables: list[Any],
        on_written: Callable[[Any], None],
        on_tables_lost: Callable[[], None],
    ) -> None:
        self.written.append(on_written)


def file(number: int) -> WrittenFile:
    return cast(WrittenFile, f"file {number}")


def test_a_batch_that_was_written_twice_is_committed_once() -> None:
    """The writer comes up with a file on its way, and is asked for it again."""
    ledger, writer = CommitsOnly(), SlowWriter()
    results = Results(cast(Ledger, ledger), 3, writer, lambda shard, rows: None)
    results.add_answers("table", Origins(np.zeros(4, int), np.arange(4)), np.array([1, 1, 2, 3]))
    results.write_if_due(at_once=True)
    results.write_again()
    assert len(writer.written) == 2
    writer.written[0](file(1))
    writer.written[1](file(2))
    ((committed, counts),) = ledger.commits
    assert committed == "file 1"
    assert counts[0].exits.tolist() == [2, 1, 1]
    assert results.are_committed
    results.write_again()
    assert len(writer.written) == 2, "nothing is on its way any more"


def test_what_waits_for_a_slow_writer_is_bounded() -> None:
    results = Results(cast(Ledger, CommitsOnly()), 1, SlowWriter(), lambda shard, rows: None)
    many = 50_000
    for turn in range(8):
        origins = Origins(np.full(many, turn), np.arange(many))
        results.add_answers(f"table {turn}", origins, np.ones(many, int))
        results.write_if_due(at_once=False)
        if results.are_behind:
            break
    assert 3 <= turn <= 7, "the first goes to the writer, and some more are collected"


def test_many_images_are_committed_before_their_time() -> None:
    commits = CommitQueue(1)
    commits.add_answers("a", {0: Counts(np.array([99_999]))})
    assert commits.take(0.0, at_once=False) is None
    commits.add_answers("b", {0: Counts(np.array([1]))})
    batch = commits.take(0.0, at_once=False)
    assert batch is not None
    assert batch.tables == ["a", "b"]
