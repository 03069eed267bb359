"""The ledger: which images have a result, shard by shard, read from the output alone.

A shard is finished when each of its images is a tag or a dead letter *in a committed table*.
Finished shards are rows of the `shards` table and are skipped by their name; inside an unfinished
one, keys that are committed already are skipped, unless their rows are out of date
(`earlier_results.py`). A finished shard with rows to do again becomes an unfinished one first.

An image has one row in one of the two tables. Where a new result takes the place of an old one,
the old row goes in the same commit if it is of the same table, and in the next one if it is of the
other: first the new row, then the removal. What a crash leaves in both is found by the next run,
since a shard is not finished before its last row is in order.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import OutputFailedError, Reason
from pipeline.output.counts import Counts, FinishedShards, RunCounts
from pipeline.output.delta_table import OutputTable
from pipeline.output.parquet_files import UnwrittenFile, WrittenFile
from pipeline.output.resume import EarlierResults, ShardResume
from pipeline.records import SHARDS_SCHEMA, DeadLetter, dead_letter_table
from pipeline.sources.sharding import Shard

__all__ = ["Counts", "Ledger"]

_MAX_UNRECORDED = 256


@dataclass(slots=True)
class _OpenShard:
    """A shard that is being worked on; what was found grows by the results of this run."""

    shard: Shard
    found: ShardResume

    @property
    def is_finished(self) -> bool:
        return self.found.done.num_done + self.found.num_left == len(self.shard.images)


class Ledger:
    """Accounts for every image of an archive.

    Args:
        tags, dead_letters, shards: the output's tables.
        gmacs_per_exit: cumulative cost of each exit.
        run: name of this run.
        retry: do again the dead letters of these reasons, and nothing else; None for an ordinary
            run, which does what has no result.
        thresholds: that every tag has to satisfy, one for each exit but the last; None if it may
            have left by any.
        is_upgrade: tags of finished shards may not satisfy them yet.
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
        is_upgrade: bool = False,
    ) -> None:
        self._tags, self._dead_letters, self._shards = tags, dead_letters, shards
        self._gmacs = np.array(gmacs_per_exit)
        self._run = run
        self._started = time.monotonic()
        self._open: dict[int, _OpenShard] = {}
        self._num_opened = 0
        num_stages = len(gmacs_per_exit)
        self._finished = FinishedShards(
            shards.scan(["shard", "exits", "num_dead_letters", "copies"]), num_stages
        )
        self._earlier = EarlierResults(
            tags, dead_letters, num_stages, retry, thresholds, is_upgrade, self._finished
        )
        # Rows that this run found to be out of date, and shards whose row must go before others.
        self._late_tags: set[str] = set()
        self._late_letters: set[str] = set()
        self._reopened: list[str] = []
        self._unrecorded: list[dict[str, Any]] = []
        num_results = tags.num_rows + dead_letters.num_rows
        self.totals = RunCounts(
            Counts.zero(num_stages), Counts.zero(num_stages), num_results=num_results
        )

    @property
    def num_to_retry(self) -> int:
        """Dead letters that are to be done again."""
        return self._earlier.num_to_retry

    @property
    def tag_writer(self) -> Any:
        """Writes files of the `tags` table; travels to the write actor."""
        return self._tags.writer

    def open(self, shard: Shard) -> tuple[int, NDArray[np.int64]]:
        """Takes a shard up: its number, and the rows that this run has to do.

        No rows means that there is nothing to do for it.
        """
        number = self._num_opened
        self._num_opened += 1
        num_images = len(shard.images)
        self.totals.num_images += num_images
        finished = self._finished.get(shard.name)
        again = None if finished is None else self._earlier.of_finished(shard, finished)
        if finished is not None and again is None:
            found = ShardResume(finished, np.empty(0, dtype=np.int64))
        else:
            if finished is not None:
                self._reopened.append(shard.name)
            found = again or self._earlier.of(shard)
            self._late_tags |= found.late_tags
            self._late_letters |= found.late_letters
            entry = _OpenShard(shard, found)
            if len(found.rows):
                self._open[number] = entry
            elif not found.num_left:
                self._unrecorded.append(self._row(entry))
        num_skipped = num_images - len(found.rows) - found.num_left
        self.totals.num_skipped += num_skipped
        self.totals.meet(num_skipped, len(found.old_tags | found.old_letters))
        self.totals.num_left += found.num_left
        self.totals.num_too_early += found.num_too_early
        self.totals.num_tagged_before += found.done.num_tagged + found.num_too_early
        self.totals.all_runs.add(found.done)
        if len(self._unrecorded) >= _MAX_UNRECORDED:
            self.commit(None, [], {})
        return number, found.rows

    def shard(self, number: int) -> Shard:
        """An open shard."""
        return self._open[number].shard

    def forget_unlisted(self) -> None:
        """Counts finished shards that were not in the listing as unfinished.

        Nobody has compared their tags with the thresholds of this run; whoever lists them again
        will.
        """
        elapsed_s = time.monotonic() - self._started
        self._shards.commit([], elapsed_s, without=self._finished.not_asked_for())

    def commit(
        self,
        file: WrittenFile | UnwrittenFile | None,
        letters: list[DeadLetter],
        counts: dict[int, Counts],
    ) -> None:
        """Makes results permanent: tags, then dead letters, then the shards they finish.

        Whatever of this a crash leaves undone, the next run finds out from the tables.

        Args:
            file: tags, already written; None if there are none.
            letters: dead letters.
            counts: per open shard, of the tags in the file and these dead letters.

        Raises:
            StaleEpochError: a later run has taken the output over.
            OutputFailedError: the storage does not take it.
        """
        if isinstance(file, UnwrittenFile):
            raise OutputFailedError(file.problem)
        elapsed_s = time.monotonic() - self._started
        entries = [self._open[number] for number in counts]
        dead = {letter.key for letter in letters}
        tagged = self._replacing_keys(file, entries)
        if self._reopened:
            self._shards.commit([], elapsed_s, without=self._reopened)
            self._reopened = []
        if file is not None:
            self._tags.commit([file], elapsed_s, without=_of(entries, "old_tags") & tagged)
        etags = _etags(entries, dead)
        files = [self._dead_letters.writer.write(dead_letter_table(letters, etags))] if dead else []
        gone_letters = _of(entries, "old_letters") & (tagged | dead) | self._late_letters
        self._dead_letters.commit(files, elapsed_s, without=gone_letters)
        gone_tags = _of(entries, "old_tags") & dead | self._late_tags
        self._tags.commit([], elapsed_s, without=gone_tags)
        self._late_letters, self._late_tags = set(), set()
        for number, added in counts.items():
            self._open[number].found.done.add(added)
            self.totals.this_run.add(added)
            self.totals.all_runs.add(added)
        self._commit_finished(counts, elapsed_s)

    def _replacing_keys(self, file: WrittenFile | None, entries: list[_OpenShard]) -> set[str]:
        """Keys in a file of tags, if any of them may take the place of an old row."""
        if file is None or not any(e.found.old_tags or e.found.old_letters for e in entries):
            return set()
        return set(self._tags.read(file.name)["key"].to_pylist())

    def _commit_finished(self, numbers: Collection[int], elapsed_s: float) -> None:
        entries = [self._open.pop(n) for n in numbers if self._open[n].is_finished]
        self._unrecorded += [self._row(entry) for entry in entries if not entry.found.num_left]
        if self._unrecorded:
            rows = [row | {"elapsed_s": elapsed_s} for row in self._unrecorded]
            table = pa.Table.from_pylist(rows, schema=SHARDS_SCHEMA)
            self._shards.commit([self._shards.writer.write(table)], elapsed_s)
            self._unrecorded = []

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
        """Every shard that was opened is finished and recorded, or not this run's to finish."""
        return not (self._open or self._unrecorded)

    @property
    def seconds_of_all_runs(self) -> float:
        """Time until the last commit of a result, summed over all runs."""
        tags = self._tags.elapsed_s_of_all_runs()
        letters = self._dead_letters.elapsed_s_of_all_runs()
        return sum(max(tags.get(epoch, 0.0), letters.get(epoch, 0.0)) for epoch in tags | letters)


def _of(entries: list[_OpenShard], name: str) -> set[str]:
    keys: set[str] = set()
    return keys.union(*(getattr(entry.found, name) for entry in entries))


def _etags(entries: list[_OpenShard], keys: set[str]) -> dict[str, str | None]:
    if not keys:
        return {}
    images = (image for entry in entries for image in entry.shard.images)
    return {image.key: image.etag for image in images if image.key in keys}
