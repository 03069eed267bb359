"""Results between the actors and the tables: counted, written, committed; or lost, and done again.

A table of answers is a reference until its commit; here is where its rows are from.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import ray
from numpy.typing import NDArray

from pipeline.errors import Reason
from pipeline.output.commit_queue import CommitQueue, Uncommitted
from pipeline.output.counts import Counts
from pipeline.output.ledger import Ledger
from pipeline.output.parquet_files import UnwrittenFile, WrittenFile
from pipeline.records import DeadLetter
from pipeline.scheduling import Origins

__all__ = ["Results", "Write"]

logger = logging.getLogger(__name__)

_PROBE_S = 30.0

Rows = NDArray[np.int64]


class Write(Protocol):
    """Lets the writer write a file, and tells what became of it."""

    def __call__(
        self,
        tables: list[Any],
        on_written: Callable[[WrittenFile | UnwrittenFile], None],
        on_tables_lost: Callable[[], None],
    ) -> None:
        """Writes one file with the rows of all tables."""
        ...


@dataclass(frozen=True, slots=True)
class _Contents:
    """What a table of tags holds, shard by shard."""

    rows_of_shard: dict[int, Rows]
    counts_of_shard: dict[int, Counts]


class Results:
    """What has been answered or has failed in this run.

    Args:
        ledger: commits.
        num_stages: of the cascade.
        write: hands tables to the writer.
        list_again: takes images (shard, rows) whose answers were lost before their commit.
    """

    def __init__(
        self,
        ledger: Ledger,
        num_stages: int,
        write: Write,
        list_again: Callable[[int, Rows], None],
    ) -> None:
        self.answered = Counts.zero(num_stages)
        self._ledger = ledger
        self._num_stages = num_stages
        self._hand_to_writer = write
        self._list_again = list_again
        self._commits = CommitQueue(num_stages)
        self._writing: Uncommitted | None = None
        self._contents_of_table: dict[Any, _Contents] = {}  # of those that are not committed yet

    @property
    def are_committed(self) -> bool:
        """All of them."""
        return self._commits.is_empty

    @property
    def are_behind(self) -> bool:
        """So many wait for the writer that no more should be taken on."""
        return self._commits.is_behind

    def add_answers(
        self, table: Any, origins: Origins, exit_stages: Rows, are_copies: bool = False
    ) -> None:
        """A table of tags, where its rows are from, their exits, and whether they cost nothing."""
        rows_of_shard, counts = {}, {}
        for shard in np.unique(origins.shards).tolist():
            here = origins.shards == shard
            rows_of_shard[shard] = origins.rows[here]
            exits = np.bincount(exit_stages[here] - 1, minlength=self._num_stages)
            counts[shard] = Counts(exits, copies=exits.copy() if are_copies else exits * 0)
            self.answered.add(counts[shard])
        self._contents_of_table[table] = _Contents(rows_of_shard, counts)
        self._commits.add_answers(table, counts)

    def record_dead_letter(
        self, origins: Origins, reason: Reason, detail: str, attempts: int
    ) -> None:
        """One image that failed for good."""
        number, row = int(origins.shards[0]), int(origins.rows[0])
        shard = self._ledger.shard(number)
        image = shard.images[row]
        logger.warning("gave up %s: %s", image.key, detail)
        letter = DeadLetter(image.key, image.uri, reason, detail, attempts, shard.name)
        self.add_letters(number, [letter])

    def add_letters(self, shard: int, letters: list[DeadLetter]) -> None:
        """Dead letters of one shard."""
        self.answered.num_dead_letters += len(letters)
        self._commits.add_letters(shard, letters)

    def write_if_due(self, at_once: bool) -> None:
        """Sends what has been collected on its way into the tables."""
        batch = self._commits.take(time.monotonic(), at_once)
        if batch is not None:
            self._write(batch)

    def write_again(self) -> None:
        """The writer has lost what it was to write: a file without a commit is invisible."""
        if self._writing is not None:
            self._write(self._writing)

    def _write(self, batch: Uncommitted) -> None:
        if not batch.tables:
            self._commit(batch, None)
            return
        self._writing = batch
        self._hand_to_writer(
            batch.tables, partial(self._on_written, batch), partial(self._on_tables_lost, batch)
        )

    def _on_written(self, batch: Uncommitted, file: WrittenFile | UnwrittenFile) -> None:
        """A batch is committed once, however often it was written."""
        if batch is self._writing:
            self._commit(batch, file)

    def _commit(self, batch: Uncommitted, file: WrittenFile | UnwrittenFile | None) -> None:
        self._writing = None
        self._ledger.commit(file, batch.letters, batch.counts)
        for table in batch.tables:
            del self._contents_of_table[table]
        self._commits.committed()

    def _on_tables_lost(self, batch: Uncommitted) -> None:
        """Some tables went with their node before they were written: their images start again."""
        if batch is not self._writing:
            return
        there = []
        # All at once: of those that are lost, each may take a while to say so.
        ray.wait(batch.tables, num_returns=len(batch.tables), timeout=_PROBE_S)
        for table in batch.tables:
            try:
                ray.get(table, timeout=1.0)
            except ray.exceptions.RayError as error:
                self._do_again(batch, table, str(error).partition("\n")[0])
            else:
                there.append(table)
        batch.tables = there
        self._write(batch)

    def _do_again(self, batch: Uncommitted, table: Any, why: str) -> None:
        contents = self._contents_of_table.pop(table)
        num_images = sum(len(rows) for rows in contents.rows_of_shard.values())
        logger.warning("lost %d answers before their commit; done again (%s)", num_images, why)
        for shard, rows in contents.rows_of_shard.items():
            counts = contents.counts_of_shard[shard]
            taken_back = Counts(-counts.exits, copies=-counts.copies)
            batch.counts[shard].add(taken_back)
            self.answered.add(taken_back)
            self._list_again(shard, np.sort(rows))
