"""The ledger: accounts for every image of the archive, from the output's tables alone.

A shard is finished when each of its images has a tag or a dead letter *in a committed table*; it
then gets a row in `shards`. What a run has to do in a shard is decided in `resume.py`. If that is
something in a finished shard, its row leaves `shards` before the first new result is committed.

An image has one row in one of two tables. A commit goes in this order: tags, dead letters, removal
of replaced rows, finished shards. A new row that replaces one of the same table does so in one
transaction; one that replaces a row of the other table is committed before that row is removed. A
crash in between leaves both rows and an unfinished shard, in which the next run finds them.
"""

import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import Reason
from pipeline.output.counts import Counts, RunCounts
from pipeline.output.delta_table import OutputTable
from pipeline.output.parquet_files import FileWriter, WrittenFile
from pipeline.output.resume import EarlierResults, ShardResume
from pipeline.records import SHARDS_SCHEMA, DeadLetter, dead_letter_table
from pipeline.sources.sharding import Shard

__all__ = ["Ledger"]

_MAX_UNRECORDED = 256


@dataclass(frozen=True, slots=True)
class _OpenShard:
    """A shard with images to do; `found.done` grows by the results of this run."""

    shard: Shard
    found: ShardResume

    @property
    def is_finished(self) -> bool:
        return self.found.done.num_done + self.found.num_left == len(self.shard.images)


class Ledger:
    """Opens shards and commits their results.

    Args:
        tags, dead_letters, shards: the output's tables.
        gmacs_per_exit: cumulative cost of each exit.
        run: name of this run.
        retry: reasons of the dead letters to do again and nothing else; None for an ordinary run.
        thresholds: that every tag must meet, one for each exit but the last; None for any tag.
        retag_finished: finished shards may hold tags below the thresholds.
    """

    def __init__(
        self,
        tags: OutputTable,
        dead_letters: OutputTable,
        shards: OutputTable,
        gmacs_per_exit: tuple[float, ...],
        run: str,
        retry: Collection[Reason] | None = None,
        thresholds: Sequence[float] | None = None,
        retag_finished: bool = False,
    ) -> None:
        self._tags, self._dead_letters, self._shards = tags, dead_letters, shards
        self._gmacs = np.array(gmacs_per_exit)
        self._run = run
        self._started = time.monotonic()
        self._open: dict[int, _OpenShard] = {}
        self._num_opened = 0
        num_stages = len(gmacs_per_exit)
        self._earlier = EarlierResults(
            tags, dead_letters, shards, num_stages, retry, thresholds, retag_finished
        )
        self._committing = threading.RLock()  # one commit at a time
        self._state = threading.Lock()  # what `open` and a commit in another thread share
        # For the next commit: rows to remove, shards to reopen, shards that are finished.
        self._leftover_tags: set[str] = set()
        self._leftover_letters: set[str] = set()
        self._reopened: list[str] = []
        self._unrecorded: list[dict[str, Any]] = []
        self.totals = RunCounts(
            Counts.zero(num_stages),
            Counts.zero(num_stages),
            num_results=tags.num_rows + dead_letters.num_rows,
        )

    @property
    def num_to_retry(self) -> int:
        """Dead letters to do again."""
        return self._earlier.num_to_retry

    @property
    def tag_writer(self) -> FileWriter:
        """Writes files of the `tags` table; travels to the write actor."""
        return self._tags.writer

    def open(self, shard: Shard) -> tuple[int, NDArray[np.int64]]:
        """Opens a shard: its number, and the rows that this run has to do, maybe none."""
        number = self._num_opened
        self._num_opened += 1
        found = self._earlier.resume(shard)
        entry = _OpenShard(shard, found)
        with self._state:
            if len(found.rows):
                self._open[number] = entry
                if found.is_recorded:
                    self._reopened.append(shard.name)
            elif not (found.is_recorded or found.num_left):
                self._unrecorded.append(self._row(entry))
            self._reopened += found.superseded
            self._leftover_tags |= found.leftover_tags
            self._leftover_letters |= found.leftover_letters
            self._count(shard, found)
        is_due = len(self._unrecorded) >= _MAX_UNRECORDED
        if is_due and self._committing.acquire(blocking=False):  # else with the next commit
            try:
                self.commit(None, [], {})
            finally:
                self._committing.release()
        return number, found.rows

    def _count(self, shard: Shard, found: ShardResume) -> None:
        num_replaced = len(found.replaced_tags | found.replaced_letters)
        self.totals.add_shard(len(shard.images), found.done.num_done, num_replaced, found.num_left)
        self.totals.num_retagged += found.num_retagged
        self.totals.num_tagged_before += found.done.num_tagged + found.num_retagged
        self.totals.all_runs.add(found.done)

    def shard(self, number: int) -> Shard:
        """An open shard."""
        return self._open[number].shard

    def remove_unlisted_shards(self) -> None:
        """Removes finished shards that are not in the listing, at the end of a run over all images.

        `shards` then counts each image once. A run that lists them again looks up their keys.
        """
        elapsed_s = time.monotonic() - self._started
        self._shards.commit([], elapsed_s, without=self._earlier.unlisted_shards())

    def commit(
        self,
        file: WrittenFile | None,
        letters: list[DeadLetter],
        counts: dict[int, Counts],
    ) -> None:
        """Commits results, in the order that the module describes; may run beside `open`.

        Args:
            file: tags, already written; None if there are none.
            letters: dead letters.
            counts: of the tags and dead letters, by number of their open shard.

        Raises:
            StaleEpochError: a later run has taken over the output.
            OutputFailedError: the storage keeps failing.
        """
        with self._committing:
            self._commit(file, letters, counts, time.monotonic() - self._started)

    def _commit(
        self,
        file: WrittenFile | None,
        letters: list[DeadLetter],
        counts: dict[int, Counts],
        elapsed_s: float,
    ) -> None:
        with self._state:
            entries = [self._open[number] for number in counts]
            reopened, unrecorded = self._reopened, self._unrecorded
            leftover_tags, leftover_letters = self._leftover_tags, self._leftover_letters
            self._reopened, self._unrecorded = [], []
            self._leftover_letters, self._leftover_tags = set(), set()
        old_tags = set[str]().union(*(entry.found.replaced_tags for entry in entries))
        old_letters = set[str]().union(*(entry.found.replaced_letters for entry in entries))
        dead = {letter.key for letter in letters}
        tagged = set[str]()
        if file is not None and (old_tags or old_letters):
            tagged.update(self._tags.read(file.name)["key"].to_pylist())
        self._shards.commit([], elapsed_s, without=reopened)
        self._tags.commit([file] if file else [], elapsed_s, without=old_tags & tagged)
        letter_files = [self._write_letters(letters, entries)] if letters else []
        gone_letters = old_letters & (tagged | dead) | leftover_letters
        self._dead_letters.commit(letter_files, elapsed_s, without=gone_letters)
        self._tags.commit([], elapsed_s, without=old_tags & dead | leftover_tags)
        with self._state:
            unrecorded += self._finished_rows(counts)
        if unrecorded:
            rows = [row | {"elapsed_s": elapsed_s} for row in unrecorded]
            table = pa.Table.from_pylist(rows, schema=SHARDS_SCHEMA)
            self._shards.commit([self._shards.writer.write(table)], elapsed_s)

    def _finished_rows(self, counts: dict[int, Counts]) -> list[dict[str, Any]]:
        """Adds committed results; returns rows of `shards` for those that are finished now."""
        for number, added in counts.items():
            self._open[number].found.done.add(added)
            self.totals.this_run.add(added)
            self.totals.all_runs.add(added)
        entries = [self._open.pop(number) for number in counts if self._open[number].is_finished]
        return [self._row(entry) for entry in entries if not entry.found.num_left]

    def _write_letters(self, letters: list[DeadLetter], entries: list[_OpenShard]) -> WrittenFile:
        images = (image for entry in entries for image in entry.shard.images)
        dead = {letter.key for letter in letters}
        etags = {image.key: image.etag for image in images if image.key in dead}
        return self._dead_letters.writer.write(dead_letter_table(letters, etags))

    def _row(self, entry: _OpenShard) -> dict[str, Any]:
        done = entry.found.done
        return {
            "shard": entry.shard.name,
            "first_key": entry.shard.first_key,
            "last_key": entry.shard.last_key,
            "num_images": len(entry.shard.images),
            "num_tagged": done.num_tagged,
            "num_dead_letters": done.num_dead_letters,
            "exits": done.exits.tolist(),
            "gmacs": done.gmacs(self._gmacs),
            "copies": done.copies.tolist(),
            "run": self._run,
        }

    @property
    def is_complete(self) -> bool:
        """Every opened shard is recorded as finished, or its rest is not for this run to do."""
        return not (self._open or self._unrecorded)

    @property
    def seconds_of_all_runs(self) -> float:
        """Time until the last commit of a result, summed over all runs."""
        tags = self._tags.log.elapsed_s_of_all_runs()
        letters = self._dead_letters.log.elapsed_s_of_all_runs()
        return sum(max(tags.get(epoch, 0.0), letters.get(epoch, 0.0)) for epoch in tags | letters)
