"""The rows of one output table: commit, replace, read and clean up.

A table is a folder of Parquet files and a transaction log (`delta_log.py`). Each file is sorted by
one column whose values are unique in the table; the log has its bounds.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from pipeline.errors import OutputFailedError
from pipeline.output.delta_log import DeltaLog, TableMovedError, num_rows
from pipeline.output.parquet_files import FileWriter, WrittenFile, epoch_of
from pipeline.storage import OutputStore, output_failures, whole_name

__all__ = ["OutputTable"]

_MAX_REWRITES = 5
_ABOVE_ALL = "\U0010ffff"


class OutputTable:
    """An output table, opened for one run; created if it is missing.

    Args:
        store: the table's folder.
        schema: of the rows.
        epoch: of the run.
        run: its name.
        sort_by: column that each file is sorted by; unique in the table.

    Attributes:
        writer: writes files of the table, in any process.
        log: its transaction log.

    Raises:
        StaleEpochError: a later run has opened the table.
        UsageError: the table has rows with other columns.
    """

    def __init__(
        self, store: OutputStore, schema: pa.Schema, epoch: int, run: str, sort_by: str
    ) -> None:
        self.store = store
        self.schema = schema
        self.writer = FileWriter(store, epoch, sort_by)
        self.log = DeltaLog(store, schema, epoch, run)

    def commit(
        self, files: Sequence[WrittenFile], elapsed_s: float, without: Collection[str] = ()
    ) -> None:
        """Adds rows and removes others in one transaction.

        Args:
            files: rows to add, written by this table's writer.
            elapsed_s: since the run started.
            without: values of the sort column; committed rows with one of them are removed.

        Raises:
            StaleEpochError: a later run has opened the table; nothing was committed.
            OutputFailedError: the storage keeps failing.
        """
        for _ in range(_MAX_REWRITES):
            rewritten, replaced = self._rewritten(without) if without else ([], [])
            if not files and not replaced:
                return
            with suppress(TableMovedError):
                return self.log.commit([*files, *rewritten], replaced, elapsed_s)
        raise OutputFailedError(
            f"out: another program keeps rewriting the files of {self.store.uri}"
        )

    def _rewritten(self, without: Collection[str]) -> tuple[list[WrittenFile], list[str]]:
        """Rewrites the files that hold these rows without them; returns new and old files."""
        column = self.writer.sort_by
        wanted = pa.array(sorted(without), pa.string())
        first, last = wanted[0].as_py(), wanted[-1].as_py()
        written, replaced = [], []
        for name, low, high in self.bounds():
            if low > last or high < first:
                continue
            rows = self.read(name)
            remaining = rows.filter(pc.invert(pc.is_in(rows[column], value_set=wanted)))
            if remaining.num_rows == rows.num_rows:
                continue
            replaced.append(name)
            if remaining.num_rows:
                written.append(self.writer.write(remaining))
        return written, replaced

    def replace(self, files: Sequence[WrittenFile], replaced: Collection[str]) -> None:
        """Replaces committed files by others that hold the same rows.

        Raises:
            StaleEpochError: a later run has opened the table.
            OutputFailedError: the storage keeps failing, or a file is not committed any more.
        """
        self.log.commit(files, replaced, data_change=False)

    def erase(self) -> list[str]:
        """Removes all rows and returns the names of their files, which are left for the caller."""
        names = self.log.file_names()
        self.log.erase()
        return names

    def missing_files(self) -> list[str]:
        """Committed files that are not in the folder."""
        return sorted(set(self.log.file_names()).difference(self.store.names()))

    def check_epoch(self) -> None:
        """Checks that this run may still commit.

        Raises:
            StaleEpochError: a later run has opened the table.
        """
        self.log.reload()

    def read(self, name: str) -> pa.Table:
        """All rows of a committed file."""
        content = self.store.read(name)
        if content is None:
            raise OutputFailedError(f"out: {name} is missing in {self.store.uri}")
        with output_failures(self.store.uri):
            return pq.read_table(pa.BufferReader(content), schema=self.schema)

    def scan(self, columns: list[str], where: ds.Expression | None = None) -> pa.Table:
        """Committed rows; files whose bounds exclude `where` are not opened."""
        with output_failures(self.store.uri):
            table: pa.Table = self._dataset().to_table(columns=columns, filter=where)
        return table

    def batches(
        self, columns: list[str], where: ds.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The same as a stream of batches, as of the table's newest version."""
        self.log.reload()
        with output_failures(self.store.uri):
            yield from self._dataset().to_batches(columns=columns, filter=where)

    def _dataset(self) -> ds.Dataset:
        return self.log.delta.to_pyarrow_dataset()

    def bounds(self) -> list[tuple[str, str, str]]:
        """Committed files with the least and the greatest value of their sort column."""
        files = self.log.files()
        column = self.writer.sort_by
        if not files.num_rows:
            return []
        columns = (files["path"], files[f"min.{column}"], files[f"max.{column}"])
        rows = zip(*(part.to_pylist() for part in columns), strict=True)
        return [(name, low or "", high or _ABOVE_ALL) for name, low, high in rows]

    @property
    def num_rows(self) -> int:
        """Committed rows, as counted in the log."""
        return num_rows(self.log.delta)

    def remove_leftovers(self) -> int:
        """Deletes files that no reader needs any more, and returns their number.

        These are uncommitted files of earlier epochs, and files replaced longer ago than the
        table's retention (a week), since readers of older versions may still use them.
        """
        with output_failures(self.store.uri):
            delta = self.log.delta
            replaced = delta.vacuum(
                retention_hours=0, dry_run=True, enforce_retention_duration=False
            )
            expired = delta.vacuum(dry_run=True)
        known = {*self.log.file_names(), *replaced}
        orphans = [name for name in self.store.names() if self._is_orphan(name, known)]
        self.store.delete([*orphans, *expired])
        return len(orphans) + len(expired)

    def _is_orphan(self, name: str, known: Collection[str]) -> bool:
        epoch = epoch_of(whole_name(name))
        return epoch is not None and epoch < self.writer.epoch and name not in known
