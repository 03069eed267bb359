"""The transaction log of one output table: only the newest run commits, and each commit once.

Commits are compare-and-swap on the table's version: with `max_commit_retries=0`, deltalake never
rebases one onto another. A run opens a table by committing its epoch and a digest of its name. Any
later commit of an earlier run, even one in flight, finds its version taken, reloads the log, sees
the newer epoch and raises `StaleEpochError`. So does a run that finds its own epoch under another
name, as after the output was removed and made again.

Each commit carries a number, kept as an application transaction of the run's epoch. It identifies a
commit whose acknowledgement was lost, which is then not repeated. The number is the milliseconds
since the start of the run, so the log also records how long each run worked.

Each commit to a local folder is durable before the next one starts, so a power cut takes no commit
of one table without those that other tables made after it.
"""

import hashlib
import threading
import time
from collections.abc import Collection, Sequence
from typing import Literal

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from pipeline.errors import OutputFailedError, StaleEpochError, UsageError
from pipeline.output.parquet_files import WrittenFile
from pipeline.storage import OutputStore, output_failures

__all__ = [
    "DeltaLog",
    "TableMovedError",
    "check_columns",
    "last_commit",
    "newest_epoch",
    "num_rows",
    "number_of",
    "open_delta",
]

_EPOCH = "dvt.epoch"
_RUN = "dvt.run"
_FIRST_EPOCH = "dvt.first_epoch"


class TableMovedError(OutputFailedError):
    """A file to remove is not in the table: another program has rewritten it."""


def open_delta(store: OutputStore) -> DeltaTable | None:
    """Opens the table in a folder for reading; None if there is none."""
    with output_failures(store.uri):
        try:
            return DeltaTable(store.delta_url, storage_options=store.delta_options)
        except TableNotFoundError:
            return None


def newest_epoch(store: OutputStore) -> int:
    """Epoch of the last run that opened the table in a folder; 0 if there is none."""
    delta = open_delta(store)
    return 0 if delta is None else delta.transaction_version(_EPOCH) or 0


def num_rows(delta: DeltaTable) -> int:
    """Committed rows, as counted in the log."""
    files = pa.table(delta.get_add_actions(flatten=True))
    return sum(filter(None, files["num_records"].to_pylist())) if files.num_rows else 0


def number_of(delta: DeltaTable, epoch: int) -> int | None:
    """Number of the last commit of rows by the run of an epoch; None if it made none."""
    return delta.transaction_version(_elapsed(epoch))


def last_commit(delta: DeltaTable) -> tuple[int, int] | None:
    """Epoch and number of the last commit of rows; None if there was none."""
    for epoch in reversed(_epochs(delta)):
        if (number := number_of(delta, epoch)) is not None:
            return epoch, number
    return None


def _epochs(delta: DeltaTable) -> range:
    version = delta.transaction_version
    return range(version(_FIRST_EPOCH) or 1, (version(_EPOCH) or 0) + 1)


def check_columns(delta: DeltaTable, schema: pa.Schema) -> None:
    """Checks that a table takes rows of a schema; an empty table is recreated and takes any.

    Raises:
        UsageError: the table has rows with other columns.
    """
    has_rows = pa.table(delta.get_add_actions(flatten=True)).num_rows > 0
    if has_rows and delta.schema() != Schema.from_arrow(schema):
        raise UsageError(
            f"out: {delta.table_uri} has other columns than this job writes; choose another "
            "--out, or --overwrite to start over"
        )


class DeltaLog:
    """The log of one table, opened for one run; creates the table if there is none.

    Args:
        store: the table's folder.
        schema: of the rows.
        epoch: of the run.
        run: its name.

    Attributes:
        delta: the table as of the last commit or `reload`.

    Raises:
        StaleEpochError: a later run has opened the table.
        UsageError: the table has rows with other columns.
    """

    def __init__(self, store: OutputStore, schema: pa.Schema, epoch: int, run: str) -> None:
        self._store, self._schema, self._epoch = store, schema, epoch
        digest = hashlib.blake2b(run.encode(), digest_size=7).digest()
        self._run = Transaction(_RUN, int.from_bytes(digest, "little"))
        store.prepare()
        self.delta = open_delta(store) or self._create("ignore")
        self._must_reload = False
        self._lock = threading.RLock()
        self._last_ms = self.delta.transaction_version(_elapsed(epoch)) or 0
        self._commit([], [], True, [self._run, Transaction(_EPOCH, epoch)])
        check_columns(self.delta, schema)
        if self.delta.schema() != Schema.from_arrow(schema):
            self.delta = self._create("overwrite")

    def _create(self, mode: Literal["ignore", "overwrite"]) -> DeltaTable:
        with output_failures(self._store.uri):
            delta = DeltaTable.create(
                self._store.delta_url,
                schema=self._schema,
                mode=mode,
                storage_options=self._store.delta_options,
                commit_properties=CommitProperties(max_commit_retries=0),
            )
        self._sync(delta.version())
        return delta

    def _sync(self, version: int) -> None:
        name = f"_delta_log/{version:020d}"
        self._store.sync(
            [f"{name}.json", f"{name}.checkpoint.parquet", "_delta_log/_last_checkpoint"]
        )

    def files(self) -> pa.Table:
        """Committed files: `path`, `size_bytes`, `num_records`, `min.COLUMN`, `max.COLUMN`."""
        return pa.table(self.delta.get_add_actions(flatten=True))

    def file_names(self) -> list[str]:
        """Names of the committed files."""
        return [str(name) for name in self.files()["path"].to_pylist()]

    def reload(self) -> None:
        """Reads commits of other programs.

        Raises:
            StaleEpochError: a later run has opened the table.
        """
        with self._lock, output_failures(self._store.uri):
            self.delta.update_incremental()
        self._check_epoch()

    def commit(
        self,
        added: Sequence[WrittenFile],
        removed: Collection[str],
        elapsed_s: float = 0.0,
        *,
        data_change: bool = True,
    ) -> None:
        """Adds and removes files in one transaction.

        Args:
            added: files to add.
            removed: names of committed files.
            elapsed_s: since the run started.
            data_change: False if the rows stay the same.

        Raises:
            StaleEpochError: a later run has opened the table; nothing was committed.
            TableMovedError: some of `removed` are not committed any more; nothing was committed.
            OutputFailedError: the storage keeps failing.
        """
        self._commit(added, removed, data_change, [self._next_number(elapsed_s)])

    def erase(self) -> None:
        """Removes all rows and keeps the log, so that replaced runs still find the newer epoch."""
        first = Transaction(_FIRST_EPOCH, self._epoch)
        self._commit([], self.file_names(), True, [first, self._next_number(0.0)])

    def elapsed_s_of_all_runs(self) -> dict[int, float]:
        """Seconds until the last commit of each run, by epoch."""
        found = {epoch: number_of(self.delta, epoch) for epoch in _epochs(self.delta)}
        return {epoch: ms / 1000 for epoch, ms in found.items() if ms is not None}

    def _next_number(self, elapsed_s: float) -> Transaction:
        self._last_ms = max(self._last_ms + 1, round(1000 * elapsed_s))
        return Transaction(_elapsed(self._epoch), self._last_ms)

    def _commit(
        self,
        added: Sequence[WrittenFile],
        removed: Collection[str],
        data_change: bool,
        transactions: list[Transaction],
    ) -> None:
        """Commits under the number of the last of the transactions."""
        now_ms = int(time.time() * 1000)
        actions: list[AddAction | RemoveAction] = [
            AddAction(file.name, file.size_bytes, {}, now_ms, data_change, file.stats)
            for file in added
        ]
        actions += [RemoveAction(name, data_change, now_ms) for name in removed]
        properties = CommitProperties(max_commit_retries=0, app_transactions=transactions)
        number = transactions[-1]

        def attempt() -> None:
            refused_at = None
            while True:
                if self._must_reload:
                    self.delta.update_incremental()
                    self._must_reload = False
                self._check_epoch()
                if self.delta.transaction_version(number.app_id) == number.version:
                    return  # an earlier attempt was committed
                if gone := set(removed) - set(self.file_names() if removed else ()):
                    raise TableMovedError(
                        f"out: another program has rewritten {min(gone)} of {self._store.uri}; "
                        "the same command continues"
                    )
                version = self.delta.version()
                self._must_reload = True  # a commit that raises may have been made
                try:
                    self.delta.create_write_transaction(
                        actions, mode="append", schema=self._schema, commit_properties=properties
                    )
                except CommitFailedError:  # a conflict only if the table has a new version
                    if refused_at == self.delta.version():
                        raise
                    refused_at = self.delta.version()
                else:
                    self._sync(version + 1)

        with self._lock:
            self._store.call(attempt)

    def _check_epoch(self) -> None:
        newest = self.delta.transaction_version(_EPOCH) or 0
        is_other = self.delta.transaction_version(_RUN) != self._run.version
        if newest > self._epoch or (newest == self._epoch and is_other):
            raise StaleEpochError(
                f"out: a later run has taken over {self._store.uri} (epoch {newest}, this run has "
                f"{self._epoch}); this run stops, its commits stay"
            )


def _elapsed(epoch: int) -> str:
    return f"dvt.elapsed_ms.{epoch}"
