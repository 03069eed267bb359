"""Results between the actors and the tables: collected, written, committed.

Commits are frequent at first, so that results are visible early, and rarer later, so that files get
a sensible size. One commit is in progress at a time; a result is collected, in progress, or
committed. Tables of predictions are opaque references here; the caller has them written.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.errors import Reason
from pipeline.output.counts import Counts
from pipeline.output.ledger import Ledger
from pipeline.output.parquet_files import WrittenFile
from pipeline.records import DeadLetter, Unpredicted
from pipeline.scheduling import Origins, Rows
from pipeline.units import counted

__all__ = ["Results", "ShardRows"]

logger = logging.getLogger(__name__)

_FIRST_INTERVAL_S = 1.0
_LAST_INTERVAL_S = 30.0
_SHARE_OF_ELAPSED = 0.05
# Collected results are held in memory, and one file is written at a time.
_MAX_IMAGES = 100_000

ShardRows = list[tuple[int, Rows]]
"""Images of several shards: numbers of open shards, and rows in these."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of predictions and the shards that its rows are from."""

    reference: Any
    rows_of_shard: dict[int, Rows]
    counts_of_shard: dict[int, Counts]


@dataclass(slots=True)
class _Batch:
    """Results that become visible together."""

    tables: list[_Table] = field(default_factory=list)
    unpredicted: list[Unpredicted] = field(default_factory=list)
    counts_of_shard: dict[int, Counts] = field(default_factory=dict)
    num_images: int = 0

    def add(self, shard: int, counts: Counts) -> None:
        self.counts_of_shard.setdefault(shard, Counts.zero(len(counts.exits))).add(counts)
        self.num_images += counts.num_done


class Results:
    """Predictions, dead letters and other files of one run.

    Args:
        ledger: commits them.
        num_stages: of the cascade.
        clock: in seconds; never goes back.

    Attributes:
        counts: of all results of this run, committed or not.
    """

    def __init__(
        self, ledger: Ledger, num_stages: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.counts = Counts.zero(num_stages)
        self._ledger = ledger
        self._num_stages = num_stages
        self._clock = clock
        self._started_s = self._taken_s = clock()
        self._collected = _Batch()
        self._in_progress: _Batch | None = None

    @property
    def are_committed(self) -> bool:
        """Whether every result is in the tables."""
        return self._in_progress is None and not self._collected.num_images

    @property
    def is_commit_in_progress(self) -> bool:
        """Whether a commit was started and has not ended."""
        return self._in_progress is not None

    @property
    def are_behind(self) -> bool:
        """Whether so many results wait for the writer that no more work should start."""
        return self._collected.num_images > 2 * _MAX_IMAGES

    @property
    def tables_in_progress(self) -> list[Any]:
        """References to the tables of the commit in progress, to be written as one file."""
        return [] if self._in_progress is None else [t.reference for t in self._in_progress.tables]

    def add_predictions(
        self, table: Any, origins: Origins, exit_stages: Rows, are_copies: bool = False
    ) -> None:
        """Adds a table of tags.

        Args:
            table: reference to it.
            origins: shards and rows of its images, [n].
            exit_stages: from 1, [n].
            are_copies: the predictions are those of other images and cost nothing.
        """
        rows_of_shard, counts_of_shard = {}, {}
        for shard in np.unique(origins.shards).tolist():
            here = origins.shards == shard
            rows_of_shard[shard] = origins.rows[here]
            exits = np.bincount(exit_stages[here] - 1, minlength=self._num_stages)
            counts = Counts(exits, copies=exits.copy() if are_copies else exits * 0)
            counts_of_shard[shard] = counts
            self.counts.add(counts)
            self._collected.add(shard, counts)
        self._collected.tables.append(_Table(table, rows_of_shard, counts_of_shard))

    def add_unpredicted(self, shard: int, files: Sequence[Unpredicted]) -> None:
        """Adds dead letters and other files of one shard."""
        if files:
            num_dead_letters = sum(isinstance(file, DeadLetter) for file in files)
            counts = Counts(np.zeros_like(self.counts.exits), num_dead_letters)
            counts.num_other_files = len(files) - num_dead_letters
            self.counts.add(counts)
            self._collected.add(shard, counts)
            self._collected.unpredicted += files

    def record_dead_letter(
        self, origins: Origins, reason: Reason, detail: str, attempts: int
    ) -> None:
        """Adds one image that failed permanently.

        Args:
            origins: shard and row of the image, [1].
            reason: entry of the fixed list.
            detail: one line for the user.
            attempts: how often it was tried.
        """
        number, row = int(origins.shards[0]), int(origins.rows[0])
        shard = self._ledger.shard(number)
        image = shard.images[row]
        logger.warning("gave up %s: %s", image.key, detail)
        letter = DeadLetter(image.key, image.uri, reason, detail, attempts, shard.name, image.etag)
        self.add_unpredicted(number, [letter])

    def start_commit(self, at_once: bool) -> bool:
        """Starts a commit if one is due and none is in progress; `commit` ends it.

        Args:
            at_once: whatever has been collected is due.
        """
        now_s = self._clock()
        elapsed_s = now_s - self._started_s
        interval_s = min(_LAST_INTERVAL_S, max(_FIRST_INTERVAL_S, _SHARE_OF_ELAPSED * elapsed_s))
        num_images = self._collected.num_images
        is_due = at_once or now_s - self._taken_s >= interval_s or num_images >= _MAX_IMAGES
        if self._in_progress is not None or not is_due or not num_images:
            return False
        self._in_progress, self._collected = self._collected, _Batch()
        self._taken_s = now_s
        return True

    def commit(self, file: WrittenFile | None) -> None:
        """Ends the commit in progress; may run beside the other methods, in another thread.

        Args:
            file: holds the rows of `tables_in_progress`; None if there are none.

        Raises:
            StaleEpochError: a later run has taken the output over.
            OutputFailedError: the storage does not accept it.
        """
        batch = self._in_progress
        assert batch is not None, "no commit is in progress"
        self._ledger.commit(file, batch.unpredicted, batch.counts_of_shard)
        self._in_progress = None

    def drop_lost(self, references: Collection[Any]) -> ShardRows:
        """Takes lost tables out of the commit in progress.

        Args:
            references: of `tables_in_progress`, those that can no longer be read.

        Returns:
            Shards and rows of their images, to be done again.
        """
        batch = self._in_progress
        assert batch is not None, "no commit is in progress"
        lost = [table for table in batch.tables if table.reference in references]
        batch.tables = [table for table in batch.tables if table.reference not in references]
        restarted: ShardRows = []
        for table in lost:
            for shard, rows in table.rows_of_shard.items():
                counts = table.counts_of_shard[shard]
                withdrawn = Counts(-counts.exits, copies=-counts.copies)
                batch.add(shard, withdrawn)
                self.counts.add(withdrawn)
                restarted.append((shard, np.sort(rows)))
        num_images = sum(len(rows) for _, rows in restarted)
        what = counted(num_images, "prediction")
        logger.warning("lost %s before the commit; computing again", what)
        return restarted

    def finish(self) -> None:
        """Records what is left to record once all results are committed."""
        self._ledger.commit(None, [], {})
