"""One Delta table of the output, and the fence that keeps a run that was replaced out of it.

Commits are compare-and-swap on the table's version: nothing is ever moved behind somebody else's
commit unseen (`max_commit_retries=0`). A run begins by committing its epoch to each table. From
then on every commit of an earlier run, also one that is already on its way, meets a version that
is taken; the run reads the log again, finds the later epoch and stops.

The log also holds, as application transactions, a running number of each epoch's commits. By it a
commit whose answer was lost is recognised and not made twice. It counts in milliseconds since the
start of the run, so that it tells at the same time how long each run has worked.
"""

import logging
import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from pipeline.errors import OutputFailedError, StaleEpochError
from pipeline.output.parquet_files import FileWriter, WrittenFile, epoch_of
from pipeline.output.table_columns import add_missing_columns, check_columns
from pipeline.storage import OutputStore, output_failures
from pipeline.storage.errors import is_passing

__all__ = ["OutputTable", "open_delta"]

logger = logging.getLogger(__name__)

_EPOCH = "dvt.epoch"
_FIRST_EPOCH = "dvt.first_epoch"
_PATIENCE_S = 120.0
_MAX_MOVED = 5
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.2, 10.0


class _TableMovedError(OutputFailedError):
    """What was to be replaced is not there any more, as when somebody else merges files."""


def _elapsed(epoch: int) -> str:
    return f"dvt.elapsed_ms.{epoch}"


def open_delta(place: OutputStore) -> DeltaTable | None:
    """A table to read from; None if there is none.

    Args:
        place: its folder.
    """
    with output_failures(place.uri):
        try:
            return DeltaTable(place.uri, storage_options=place.delta_options)
        except TableNotFoundError:
            return None


class OutputTable:
    """A Delta table for one run, created on first use.

    Args:
        place: its folder.
        schema: of its rows.
        epoch: of the run.
        sort_by: column by which each file is sorted; unique in the table.

    Raises:
        StaleEpochError: a later run has the table.
        UsageError: it has other columns.
    """

    def __init__(self, place: OutputStore, schema: pa.Schema, epoch: int, sort_by: str) -> None:
        self.place = place
        self.schema = schema
        self.epoch = epoch
        self.writer = FileWriter(place, epoch, sort_by)
        place.prepare()
        self._delta = self._opened()
        self._is_stale = False
        self._last_ms = self._delta.transaction_version(_elapsed(epoch)) or 0
        self._transact([], [], True, (Transaction(_EPOCH, epoch),))
        if self._delta.schema() == Schema.from_arrow(schema):
            return
        check_columns(self._delta, schema)
        if self.is_empty:
            self._delta = self._opened("overwrite")
            return
        with output_failures(place.uri):
            add_missing_columns(self._delta, schema)

    def _opened(self, mode: Literal["ignore", "overwrite"] = "ignore") -> DeltaTable:
        delta = open_delta(self.place) if mode == "ignore" else None
        if delta is None:
            with output_failures(self.place.uri):
                delta = DeltaTable.create(
                    self.place.uri,
                    schema=self.schema,
                    mode=mode,
                    storage_options=self.place.delta_options,
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
        return delta

    def erase(self) -> None:
        """Removes all rows, and keeps the log: a run that was replaced must still meet it."""
        before = self.file_names()
        self._last_ms += 1
        numbers = (
            Transaction(_FIRST_EPOCH, self.epoch),
            Transaction(_elapsed(self.epoch), self._last_ms),
        )
        self._transact([], before, True, numbers)
        self.place.delete(before)

    def check_epoch(self) -> None:
        """Makes sure that this run still has the table.

        Raises:
            StaleEpochError: a later run has it.
        """
        with output_failures(self.place.uri):
            self._delta.update_incremental()
        self._check_epoch()

    def commit(
        self, files: Sequence[WrittenFile], elapsed_s: float, without: Collection[str] = ()
    ) -> None:
        """Makes rows visible and others disappear, all at once.

        Args:
            files: written by this table's writer.
            elapsed_s: since the run started.
            without: values of the column that files are sorted by; rows that were committed with
                one of these give way.

        Raises:
            StaleEpochError: a later run has the table; nothing was committed.
            OutputFailedError: the storage keeps failing.
        """
        if not files and not without:
            return
        self._last_ms = max(self._last_ms + 1, round(1000 * elapsed_s))
        number = (Transaction(_elapsed(self.epoch), self._last_ms),)
        for _ in range(_MAX_MOVED):
            rewritten, replaced = self._rewritten(without) if without else ([], [])
            if not files and not replaced:
                return
            with suppress(_TableMovedError):
                return self._transact([*files, *rewritten], replaced, True, number)
        raise OutputFailedError(
            f"out: another program keeps rewriting the files of {self.place.uri}"
        )

    def replace(self, files: Sequence[WrittenFile], replaced: Collection[str]) -> None:
        """Puts files in the place of others that hold the same rows."""
        self._last_ms += 1
        number = Transaction(_elapsed(self.epoch), self._last_ms)
        self._transact(files, replaced, False, (number,))

    def _rewritten(self, without: Collection[str]) -> tuple[list[WrittenFile], list[str]]:
        column = self.writer.sort_by
        wanted = pa.array(sorted(without), pa.string())
        first, last = wanted[0].as_py(), wanted[-1].as_py()
        written, replaced = [], []
        for name, low, high in self.bounds():
            if low > last or high < first:
                continue
            rows = self.read(name)
            stays = pc.invert(pc.is_in(rows[column], value_set=wanted))
            left = rows.filter(stays)
            if left.num_rows == rows.num_rows:
                continue
            replaced.append(name)
            if left.num_rows:
                written.append(self.writer.write(left))
        return written, replaced

    def read(self, name: str) -> pa.Table:
        """All rows of a file."""
        content = self.place.read(name)
        if content is None:
            raise OutputFailedError(f"out: {name} is missing in {self.place.uri}")
        with output_failures(self.place.uri):
            return pq.read_table(pa.BufferReader(content), schema=self.schema)

    def _transact(
        self,
        added: Sequence[WrittenFile],
        removed: Collection[str],
        data_change: bool,
        transactions: tuple[Transaction, ...],
    ) -> None:
        now_ms = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            AddAction(file.name, file.size_bytes, {}, now_ms, data_change, file.stats)
            for file in added
        ]
        actions += [RemoveAction(name, data_change, now_ms) for name in removed]
        properties = CommitProperties(max_commit_retries=0, app_transactions=list(transactions))
        number = transactions[-1]

        def attempt() -> None:
            refused_at = None
            while True:
                if self._is_stale:
                    self._delta.update_incremental()
                    self._is_stale = False
                self._check_epoch()
                if self._delta.transaction_version(number.app_id) == number.version:
                    return  # it is made
                if gone := set(removed) - set(self.file_names() if removed else ()):
                    raise _TableMovedError(
                        f"out: another program has rewritten {min(gone)} of {self.place.uri}; "
                        "the same command continues"
                    )
                self._is_stale = True  # even a commit that fails may have been made
                try:
                    self._delta.create_write_transaction(
                        actions, mode="append", schema=self.schema, commit_properties=properties
                    )
                except CommitFailedError:  # somebody else was first; if not, it is another error
                    if refused_at == self._delta.version():
                        raise
                    refused_at = self._delta.version()

        _patiently(self.place.uri, attempt)

    def _check_epoch(self) -> None:
        newest = self._delta.transaction_version(_EPOCH)
        if newest is not None and newest > self.epoch:
            raise StaleEpochError(
                f"out: a later run has taken {self.place.uri} over (epoch {newest}, this one is "
                f"{self.epoch}); this run stops, and what it had committed stays"
            )

    def elapsed_s_of_all_runs(self) -> dict[int, float]:
        """Epoch -> seconds until its last commit here."""
        version = self._delta.transaction_version
        first = version(_FIRST_EPOCH) or 1
        found = {epoch: version(_elapsed(epoch)) for epoch in range(first, self.epoch + 1)}
        return {epoch: ms / 1000 for epoch, ms in found.items() if ms is not None}

    def scan(self, columns: list[str], where: ds.Expression | None = None) -> pa.Table:
        """Committed rows; files that lie outside `where` by their bounds are not opened."""
        with output_failures(self.place.uri):
            dataset = self._delta.to_pyarrow_dataset()
            table: pa.Table = dataset.to_table(columns=columns, filter=where)
        return table

    def batches(
        self, columns: list[str], where: ds.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The same, a few rows at a time, as they are after the last commit."""
        self.check_epoch()
        with output_failures(self.place.uri):
            dataset = self._delta.to_pyarrow_dataset()
            yield from dataset.to_batches(columns=columns, filter=where)

    def file_names(self) -> list[str]:
        """Committed files."""
        return [str(name) for name in self.files()["path"].to_pylist()]

    def bounds(self) -> list[tuple[str, str, str]]:
        """Committed files with the smallest and largest value of the column they are sorted by."""
        files = self.files()
        column = self.writer.sort_by
        if not files.num_rows:
            return []
        columns = (files["path"], files[f"min.{column}"], files[f"max.{column}"])
        rows = zip(*(part.to_pylist() for part in columns), strict=True)
        return [(name, low or "", high or "\U0010ffff") for name, low, high in rows]

    def files(self) -> pa.Table:
        """Committed files: `path`, `size_bytes`, `num_records`, `min.KEY`, `max.KEY`."""
        return pa.table(self._delta.get_add_actions(flatten=True))

    @property
    def num_rows(self) -> int:
        """Committed rows, as far as the log tells."""
        files = self.files()
        return sum(filter(None, files["num_records"].to_pylist())) if files.num_rows else 0

    @property
    def is_empty(self) -> bool:
        """No rows are committed."""
        return not self.files().num_rows

    def remove_leftovers(self) -> int:
        """Deletes files that no reader can want any more, and returns how many.

        That is, files without a commit that runs of earlier epochs left, and files that were
        replaced longer ago than the table's retention (a week): whoever opened the table before
        may still be reading the latter.
        """
        with output_failures(self.place.uri):
            replaced = self._delta.vacuum(
                retention_hours=0, dry_run=True, enforce_retention_duration=False
            )
            expired = self._delta.vacuum(dry_run=True)
        known = {*self.file_names(), *replaced}
        orphans = [name for name in self.place.names() if self._is_orphan(name, known)]
        self.place.delete([*orphans, *expired])
        return len(orphans) + len(expired)

    def _is_orphan(self, name: str, known: Collection[str]) -> bool:
        whole = name.removeprefix(".").removesuffix(".partial")
        epoch = epoch_of(whole)
        return epoch is not None and epoch < self.epoch and name not in known


def _patiently(uri: str, attempt: Callable[[], None]) -> None:
    """Tries again, for a while, what failed for a reason that may pass."""
    give_up_s = time.monotonic() + _PATIENCE_S
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            with output_failures(uri):
                return attempt()
        except OutputFailedError as error:
            cause = error.__cause__
            if cause is None or not is_passing(cause) or time.monotonic() + pause_s > give_up_s:
                raise
            logger.warning("%s; trying again", error)
        time.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(_LAST_PAUSE_S, 2 * pause_s)
