"""The ledger: which images have a result, shard by shard, read from the output alone.

A shard is finished when each of its images is a tag or a dead letter *in a committed table*.
Finished shards are rows of the `shards` table and are skipped by their name; inside an unfinished
one, keys that are committed already are skipped, unless the storage says that their content has
changed since (another etag).

An image has one row in one of the two tables. Where a new result takes the place of an old one,
the old row goes in the same commit if it is of the same table, and in the next one if it is of the
other: first the new row, then the removal. What a crash leaves in both is found by the next run,
since a shard is not finished before its last row is in order.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.committed_rows import CommittedRows
from pipeline.errors import OutputFailed, Reason
from pipeline.files import UnwrittenFile, WrittenFile
from pipeline.records import SHARDS_SCHEMA, DeadLetter, dead_letter_table
from pipeline.shards import Shard
from pipeline.table import OutputTable
from pipeline.tally import FinishedShards, Tally, Totals

__all__ = ["Ledger", "Tally"]

_MAX_UNRECORDED = 256


@dataclass(slots=True)
class _OpenShard:
    """A shard that is being worked on.

    Attributes:
        done: results so far, of all runs.
        num_left: images that have no result and get none in this run.
        old_tags, old_letters: keys to do whose rows give way to the new result.
    """

    shard: Shard
    done: Tally
    num_left: int = 0
    old_tags: set[str] = field(default_factory=set)
    old_letters: set[str] = field(default_factory=set)

    @property
    def is_finished(self) -> bool:
        return self.done.num_done + self.num_left == len(self.shard.images)


class Ledger:
    """Accounts for every image of an archive.

    Args:
        tags, dead_letters, shards: the output's tables.
        gmacs_per_exit: cumulative cost of each exit.
        run: name of this run.
        retry: do again the dead letters of these reasons, and nothing else; None for an ordinary
            run, which does what has no result.
    """

    def __init__(
        self,
        tags: OutputTable,
        dead_letters: OutputTable,
        shards: OutputTable,
        gmacs_per_exit: tuple[float, ...],
        run: str,
        retry: Collection[Reason] | None = None,
    ) -> None:
        self._tags, self._dead_letters, self._shards = tags, dead_letters, shards
        self._gmacs = np.array(gmacs_per_exit)
        self._run = run
        self._retry = None if retry is None else {reason.value for reason in retry}
        self._started = time.monotonic()
        self._open: dict[int, _OpenShard] = {}
        self._num_opened = 0
        num_stages = len(gmacs_per_exit)
        self._finished = FinishedShards(
            shards.scan(["shard", "exits", "num_dead_letters", "copies"]), num_stages
        )
        self._tag_rows = CommittedRows(tags, ["exit_stage", "etag", "gmacs"])
        self._letter_rows = CommittedRows(dead_letters, ["reason", "etag"])
        self._letters_to_retry = self._keys_to_retry()
        # Rows that this run found to be out of date, and shards whose row must go before others.
        self._late_tags: set[str] = set()
        self._late_letters: set[str] = set()
        self._reopened: list[str] = []
        self._unrecorded: list[dict[str, Any]] = []
        self.totals = Totals(Tally.zero(num_stages), Tally.zero(num_stages))

    def _keys_to_retry(self) -> NDArray[np.object_]:
        if self._retry is None:
            return np.empty(0, dtype=object)
        chosen = pc.field("reason").isin(sorted(self._retry))
        keys = self._dead_letters.scan(["key"], chosen)["key"]
        return np.sort(keys.to_numpy(zero_copy_only=False).astype(object))

    @property
    def num_to_retry(self) -> int:
        """Dead letters that are to be done again."""
        return len(self._letters_to_retry)

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
        if finished is not None and not self._has_letters_to_retry(shard):
            done, rows = finished, np.empty(0, dtype=np.int64)
            num_left = 0
        else:
            if finished is not None:
                self._reopened.append(shard.name)
            entry = _OpenShard(shard, Tally.zero(len(self._gmacs)))
            rows = self._rows_to_do(entry)
            done, num_left = entry.done, entry.num_left
            if len(rows):
                self._open[number] = entry
            elif not num_left:
                self._unrecorded.append(self._row(entry))
        self.totals.num_skipped += num_images - len(rows) - num_left
        self.totals.num_left += num_left
        self.totals.all_runs.add(done)
        if len(self._unrecorded) >= _MAX_UNRECORDED:
            self.commit(None, [], {})
        return number, rows

    def shard(self, number: int) -> Shard:
        """An open shard."""
        return self._open[number].shard

    def _has_letters_to_retry(self, shard: Shard) -> bool:
        keys = self._letters_to_retry
        if not len(keys):
            return False
        place = int(np.searchsorted(keys, shard.first_key))
        return place < len(keys) and keys[place] <= shard.last_key

    def _rows_to_do(self, entry: _OpenShard) -> NDArray[np.int64]:
        """Compares an unfinished shard with the committed rows of its keys."""
        images = entry.shard.images
        keys = [image.key for image in images]
        tags, letters = self._tag_rows.of(keys), self._letter_rows.of(keys)
        if not tags and not letters and self._retry is None:
            return np.arange(len(images))
        rows = []
        for row, image in enumerate(images):
            key = image.key
            tag, letter = tags.get(key), letters.get(key)
            if tag is not None and self._is_current(tag[1], image.etag):
                entry.done.exits[tag[0] - 1] += 1
                entry.done.copies[tag[0] - 1] += tag[2] == 0
                if letter is not None:
                    self._late_letters.add(key)
            elif letter is not None and self._stays_dead(letter, image.etag):
                entry.done.num_dead_letters += 1
                if tag is not None:
                    self._late_tags.add(key)
            elif letter is None and self._retry is not None:
                entry.num_left += 1
            else:
                rows.append(row)
                if tag is not None:
                    entry.old_tags.add(key)
                if letter is not None:
                    entry.old_letters.add(key)
        return np.array(rows, dtype=np.int64)

    def _is_current(self, before: str | None, now: str | None) -> bool:
        """The content is the same, as far as the source can tell."""
        return self._retry is not None or before is None or now is None or before == now

    def _stays_dead(self, letter: tuple[Any, ...], etag: str | None) -> bool:
        reason, before = letter
        is_chosen = self._retry is not None and reason in self._retry
        return not is_chosen and self._is_current(before, etag)

    def commit(
        self,
        file: WrittenFile | UnwrittenFile | None,
        letters: list[DeadLetter],
        tallies: dict[int, Tally],
    ) -> None:
        """Makes results permanent: tags, then dead letters, then the shards they finish.

        Whatever of this a crash leaves undone, the next run finds out from the tables.

        Args:
            file: tags, already written; None if there are none.
            letters: dead letters.
            tallies: per open shard, of the tags in the file and these dead letters.

        Raises:
            FencedOff: a later run has taken the output over.
            OutputFailed: the storage does not take it.
        """
        if isinstance(file, UnwrittenFile):
            raise OutputFailed(file.problem)
        elapsed_s = time.monotonic() - self._started
        entries = [self._open[number] for number in tallies]
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
        for number, tally in tallies.items():
            self._open[number].done.add(tally)
            self.totals.this_run.add(tally)
            self.totals.all_runs.add(tally)
        self._commit_finished(tallies, elapsed_s)

    def _replacing_keys(self, file: WrittenFile | None, entries: list[_OpenShard]) -> set[str]:
        """Keys in a file of tags, if any of them may take the place of an old row."""
        if file is None or not any(entry.old_tags or entry.old_letters for entry in entries):
            return set()
        return set(self._tags.read(file.name)["key"].to_pylist())

    def _commit_finished(self, numbers: Collection[int], elapsed_s: float) -> None:
        entries = [self._open.pop(n) for n in numbers if self._open[n].is_finished]
        self._unrecorded += [self._row(entry) for entry in entries if not entry.num_left]
        if self._unrecorded:
            rows = [row | {"elapsed_s": elapsed_s} for row in self._unrecorded]
            table = pa.Table.from_pylist(rows, schema=SHARDS_SCHEMA)
            self._shards.commit([self._shards.writer.write(table)], elapsed_s)
            self._unrecorded = []

    def _row(self, entry: _OpenShard) -> dict[str, Any]:
        done = entry.done
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
    return keys.union(*(getattr(entry, name) for entry in entries))


def _etags(entries: list[_OpenShard], keys: set[str]) -> dict[str, str | None]:
    if not keys:
        return {}
    images = (image for entry in entries for image in entry.shard.images)
    return {image.key: image.etag for image in images if image.key in keys}
