"""The ledger: which images have a result, shard by shard, read from the output alone.

A shard is finished when each of its images is a tag or a dead letter *in a committed table*.
Finished shards are rows of the `shards` table and are skipped by their name; inside an unfinished
one, keys that are committed already are skipped.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.records import SHARDS_SCHEMA, DeadLetter, dead_letter_table
from pipeline.shards import Shard
from pipeline.table import OutputTable, WrittenFile, write_file

__all__ = ["Ledger", "Tally"]


@dataclass(slots=True)
class Tally:
    """Results of some images.

    Attributes:
        exits: images answered at each exit.
        num_dead_letters: images that failed for good.
    """

    exits: NDArray[np.int64]
    num_dead_letters: int = 0

    @classmethod
    def zero(cls, num_stages: int) -> "Tally":
        """No results yet."""
        return cls(np.zeros(num_stages, dtype=np.int64))

    @property
    def num_tagged(self) -> int:
        """Images answered."""
        return int(self.exits.sum())

    @property
    def num_done(self) -> int:
        """Images with a result of either kind."""
        return self.num_tagged + self.num_dead_letters

    def add(self, other: "Tally") -> None:
        """Adds results in place."""
        self.exits += other.exits
        self.num_dead_letters += other.num_dead_letters


@dataclass(slots=True)
class _OpenShard:
    shard: Shard
    done: Tally


@dataclass(slots=True)
class Totals:
    """What the archive holds and what is done of it, as far as it has been listed.

    Attributes:
        num_images: images seen in the listing.
        num_skipped: of those, done by earlier runs.
        this_run: results of this run.
        all_runs: results of all runs for the images seen.
    """

    this_run: Tally
    all_runs: Tally
    num_images: int = 0
    num_skipped: int = 0


class Ledger:
    """Accounts for every image of an archive.

    Args:
        tags, dead_letters, shards: the output's tables.
        gmacs_per_exit: cumulative cost of each exit.
        run: name of this run.
    """

    def __init__(
        self,
        tags: OutputTable,
        dead_letters: OutputTable,
        shards: OutputTable,
        gmacs_per_exit: tuple[float, ...],
        run: str,
    ) -> None:
        self._tags, self._dead_letters, self._shards = tags, dead_letters, shards
        self._gmacs = np.array(gmacs_per_exit)
        self._run = run
        self._started = time.monotonic()
        self._open: dict[int, _OpenShard] = {}
        self._num_opened = 0
        self._has_rows = not (tags.is_empty and dead_letters.is_empty)
        rows = shards.scan(SHARDS_SCHEMA.names).to_pylist()
        self._finished: dict[str, dict[str, Any]] = {row["shard"]: row for row in rows}
        self._seconds_of_run: dict[str, float] = {}
        for entry in tags.commit_metadata() + dead_letters.commit_metadata():
            if "dvt.run" in entry:
                earlier = self._seconds_of_run.get(entry["dvt.run"], 0.0)
                elapsed_s = float(entry["dvt.elapsed_s"])
                self._seconds_of_run[entry["dvt.run"]] = max(earlier, elapsed_s)
        num_stages = len(gmacs_per_exit)
        self.totals = Totals(Tally.zero(num_stages), Tally.zero(num_stages))

    def open(self, shard: Shard) -> tuple[int, NDArray[np.int64]]:
        """Takes a shard up: its number, and the rows that still have no result.

        No rows means that there is nothing to do for it.
        """
        number = self._num_opened
        self._num_opened += 1
        num_images = len(shard.images)
        self.totals.num_images += num_images
        done = Tally.zero(len(self._gmacs))
        finished = self._finished.get(shard.name)
        if finished is not None:
            done.exits += np.array(finished["exits"], dtype=np.int64)
            done.num_dead_letters = finished["num_dead_letters"]
            rows = np.empty(0, dtype=np.int64)
        else:
            rows = self._rows_without_result(shard, done)
            self._open[number] = _OpenShard(shard, done)
        self.totals.num_skipped += num_images - len(rows)
        self.totals.all_runs.add(done)
        return number, rows

    def shard(self, number: int) -> Shard:
        """An open shard."""
        return self._open[number].shard

    def _rows_without_result(self, shard: Shard, done: Tally) -> NDArray[np.int64]:
        """Compares an unfinished shard with the committed rows in its range of keys."""
        if not self._has_rows:
            return np.arange(len(shard.images))
        in_range = (pc.field("key") >= shard.first_key) & (pc.field("key") <= shard.last_key)
        tagged = self._tags.scan(["key", "exit_stage"], in_range)
        stage_of = dict(
            zip(tagged["key"].to_pylist(), tagged["exit_stage"].to_pylist(), strict=True)
        )
        dead = set(self._dead_letters.scan(["key"], in_range)["key"].to_pylist())
        rows = []
        for row, image in enumerate(shard.images):
            if image.key in stage_of:
                done.exits[stage_of[image.key] - 1] += 1
            elif image.key in dead:
                done.num_dead_letters += 1
            else:
                rows.append(row)
        return np.array(rows, dtype=np.int64)

    def commit(
        self, file: WrittenFile | None, letters: list[DeadLetter], tallies: dict[int, Tally]
    ) -> None:
        """Makes results permanent: tags, then dead letters, then the shards they finish.

        Whatever of this a crash leaves undone, the next run finds out from the tables.

        Args:
            file: tags, already written; None if there are none.
            letters: dead letters.
            tallies: per open shard, of the tags in the file and these dead letters.
        """
        elapsed_s = time.monotonic() - self._started
        if tallies:
            self._seconds_of_run[self._run] = elapsed_s
        metadata = {"dvt.run": self._run, "dvt.elapsed_s": f"{elapsed_s:.3f}"}
        if file is not None:
            self._tags.commit([file], metadata)
        if letters:
            table = dead_letter_table(letters)
            self._dead_letters.commit(
                [write_file(self._dead_letters.folder, table, "key")], metadata
            )
        for number, tally in tallies.items():
            self._open[number].done.add(tally)
            self.totals.this_run.add(tally)
            self.totals.all_runs.add(tally)
        self._commit_finished(elapsed_s, metadata)

    def _commit_finished(self, elapsed_s: float, metadata: dict[str, str]) -> None:
        numbers = [
            number
            for number, entry in self._open.items()
            if entry.done.num_done == len(entry.shard.images)
        ]
        if not numbers:
            return
        rows = [self._row(self._open.pop(number), elapsed_s) for number in numbers]
        table = pa.Table.from_pylist(rows, schema=SHARDS_SCHEMA)
        self._shards.commit([write_file(self._shards.folder, table, "shard")], metadata)

    def _row(self, entry: _OpenShard, elapsed_s: float) -> dict[str, Any]:
        done = entry.done
        return {
            "shard": entry.shard.name,
            "first_key": entry.shard.first_key,
            "last_key": entry.shard.last_key,
            "num_images": len(entry.shard.images),
            "num_tagged": done.num_tagged,
            "num_dead_letters": done.num_dead_letters,
            "exits": done.exits.tolist(),
            "gmacs": float(done.exits @ self._gmacs),
            "run": self._run,
            "elapsed_s": elapsed_s,
        }

    @property
    def is_complete(self) -> bool:
        """Every shard that was opened is finished."""
        return not self._open

    @property
    def seconds_of_all_runs(self) -> float:
        """Time until the last commit, summed over all runs."""
        return sum(self._seconds_of_run.values())
