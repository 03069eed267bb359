"""The ledger: accounts for every file of the archive, from the output's tables alone.

A shard is finished when each of its files has a tag, a dead letter or a row of `other_files` *in a
committed table*; it then gets a row in `shards`. What a run has to do in a shard is decided in
`resume.py`. If that is something in a finished shard, its row leaves `shards` before the first new
result is committed.

A file has one row in one of three tables. A commit goes in this order: tags, dead letters, other
files, removal of replaced rows, finished shards. A new row that replaces one of the same table does
so in one transaction; one that replaces a row of another table is committed before that row is
removed. A crash in between leaves both rows and an unfinished shard, in which the next run finds
them.
"""

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import Reason
from pipeline.output.counts import Counts, RunCounts
from pipeline.output.parquet_files import FileWriter, WrittenFile
from pipeline.output.resume import EarlierResults, KeysOfTable, ShardResume, no_keys
from pipeline.output.retag import TagRequirements
from pipeline.output.tables import Tables
from pipeline.records import SHARDS_SCHEMA, DeadLetter, Unpredicted, unpredicted_table
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
        tables: of the output.
        gmacs_per_exit: cumulative cost of each exit.
        run: name of this run.
        retry: reasons of the dead letters to do again and nothing else; None for an ordinary run.
        required: of every tag; None for any tag.
        retag_finished: finished shards may hold tags that do not meet it.
    """

    def __init__(
        self,
        tables: Tables,
        gmacs_per_exit: tuple[float, ...],
        run: str,
        retry: Collection[Reason] | None = None,
        required: TagRequirements | None = None,
        retag_finished: bool = False,
    ) -> None:
        self._tables = tables
        self._gmacs = np.array(gmacs_per_exit)
        self._run = run
        self._started = time.monotonic()
        self._open: dict[int, _OpenShard] = {}
        self._num_opened = 0
        num_stages = len(gmacs_per_exit)
        self._earlier = EarlierResults(tables, num_stages, retry, required, retag_finished)
        self._committing = threading.RLock()  # one commit at a time
        self._state = threading.Lock()  # what `open` and a commit in another thread share
        # For the next commit: rows to remove, shards to reopen, shards that are finished.
        self._leftover = no_keys()
        self._reopened: list[str] = []
        self._unrecorded: list[dict[str, Any]] = []
        self.totals = RunCounts(
            Counts.zero(num_stages),
            Counts.zero(num_stages),
            num_results=sum(table.num_rows for table in tables.of_files.values()),
        )

    @property
    def num_to_retry(self) -> int:
        """Dead letters to do again."""
        return self._earlier.num_to_retry

    @property
    def tag_writer(self) -> FileWriter:
        """Writes files of the `tags` table; travels to the write actor."""
        return self._tables.tags.writer

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
            for name, keys in found.leftover.items():
                self._leftover[name] |= keys
            self._count(shard, found)
        is_due = len(self._unrecorded) >= _MAX_UNRECORDED
        if is_due and self._committing.acquire(blocking=False):  # else with the next commit
            try:
                self.commit(None, [], {})
            finally:
                self._committing.release()
        return number, found.rows

    def _count(self, shard: Shard, found: ShardResume) -> None:
        num_replaced = len(set[str]().union(*found.replaced.values()))
        self.totals.add_shard(len(shard.images), found.done.num_done, num_replaced, found.num_left)
        self.totals.num_retagged += found.num_retagged
        self.totals.num_tagged_before += found.done.num_tagged + found.num_retagged
        self.totals.num_other_files_before += found.done.num_other_files
        self.totals.all_runs.add(found.done)

    def shard(self, number: int) -> Shard:
        """An open shard."""
        return self._open[number].shard

    def remove_unlisted_shards(self) -> None:
        """Removes finished shards that are not in the listing, at the end of a run over all images.

        `shards` then counts each image once. A run that lists them again looks up their keys.
        """
        elapsed_s = time.monotonic() - self._started
        self._tables.shards.commit([], elapsed_s, without=self._earlier.unlisted_shards())

    def commit(
        self,
        file: WrittenFile | None,
        unpredicted: Sequence[Unpredicted],
        counts: dict[int, Counts],
    ) -> None:
        """Commits results, in the order that the module describes; may run beside `open`.

        Args:
            file: tags, already written; None if there are none.
            unpredicted: dead letters and other files.
            counts: of all of them, by number of their open shard.

        Raises:
            StaleEpochError: a later run has taken over the output.
            OutputFailedError: the storage keeps failing.
        """
        with self._committing:
            self._commit(file, unpredicted, counts, time.monotonic() - self._started)

    def _commit(
        self,
        file: WrittenFile | None,
        unpredicted: Sequence[Unpredicted],
        counts: dict[int, Counts],
        elapsed_s: float,
    ) -> None:
        with self._state:
            entries = [self._open[number] for number in counts]
            reopened, unrecorded, leftover = self._reopened, self._unrecorded, self._leftover
            self._reopened, self._unrecorded, self._leftover = [], [], no_keys()
        old = {
            name: set[str]().union(*(entry.found.replaced[name] for entry in entries))
            for name in leftover
        }
        self._tables.shards.commit([], elapsed_s, without=reopened)
        new = self._commit_new(file, unpredicted, old, elapsed_s)
        done = set[str]().union(*new.values())
        for name, table in self._tables.of_files.items():
            replaced = old[name] & (done - new[name])
            table.commit([], elapsed_s, without=replaced | leftover[name])
        with self._state:
            unrecorded += self._finished_rows(counts)
        if unrecorded:
            rows = [row | {"elapsed_s": elapsed_s} for row in unrecorded]
            written = self._tables.shards.writer.write(pa.Table.from_pylist(rows, SHARDS_SCHEMA))
            self._tables.shards.commit([written], elapsed_s)

    def _commit_new(
        self,
        file: WrittenFile | None,
        unpredicted: Sequence[Unpredicted],
        old: Mapping[str, set[str]],
        elapsed_s: float,
    ) -> KeysOfTable:
        """Commits new rows, each instead of one with its key in the same table; returns the keys.

        Keys of tags are read only if some rows are replaced.
        """
        new, files = no_keys(), {"tags": file}
        if file is not None and any(old.values()):
            new["tags"].update(self._tables.tags.read(file.name)["key"].to_pylist())
        letters = [row for row in unpredicted if isinstance(row, DeadLetter)]
        others = [row for row in unpredicted if not isinstance(row, DeadLetter)]
        for name, rows in (("dead_letters", letters), ("other_files", others)):
            table = self._tables.of_files[name]
            new[name].update(row.key for row in rows)
            if rows:
                files[name] = table.writer.write(unpredicted_table(rows, table.schema))
        for name, table in self._tables.of_files.items():
            written = files.get(name)
            table.commit([written] if written else [], elapsed_s, without=old[name] & new[name])
        return new

    def _finished_rows(self, counts: dict[int, Counts]) -> list[dict[str, Any]]:
        """Adds committed results; returns rows of `shards` for those that are finished now."""
        for number, added in counts.items():
            self._open[number].found.done.add(added)
            self.totals.this_run.add(added)
            self.totals.all_runs.add(added)
        entries = [self._open.pop(number) for number in counts if self._open[number].is_finished]
        return [self._row(entry) for entry in entries if not entry.found.num_left]

    def _row(self, entry: _OpenShard) -> dict[str, Any]:
        done = entry.found.done
        return {
            "shard": entry.shard.name,
            "first_key": entry.shard.first_key,
            "last_key": entry.shard.last_key,
            "num_images": len(entry.shard.images),
            "num_tagged": done.num_tagged,
            "num_dead_letters": done.num_dead_letters,
            "num_other_files": done.num_other_files,
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
        longest: dict[int, float] = {}
        for table in self._tables.of_files.values():
            for epoch, elapsed_s in table.log.elapsed_s_of_all_runs().items():
                longest[epoch] = max(longest.get(epoch, 0.0), elapsed_s)
        return sum(longest.values())
