"""The layout of an output, and the life cycle of a run on it: claim, commit, complete.

    OUT/tags/ dead_letters/ other_files/ shards/   Delta tables (`tables.py`)
    OUT/run.json               the last run (`metadata.py`)
    OUT/summary.json           totals over all runs
    OUT/thresholds_used.json   of runs with a deadline: when each set of thresholds was used
    OUT/_SUCCESS               written last: every file has an outcome; what the tables hold
    OUT/.overwriting           an `--overwrite` has begun to remove the results
    OUT/.runs/                 the run that may write (`lease.py`)

OUT is a folder or `s3://bucket/prefix`; `pipeline/storage/` tells them apart.
"""

import logging
from pathlib import Path

import pyarrow as pa

from pipeline.deadline.log import THRESHOLD_LOG
from pipeline.errors import OutputFailedError, UsageError
from pipeline.output.compaction import merge_small_files
from pipeline.output.continuation import continued_run
from pipeline.output.delta_log import check_columns, newest_epoch, open_delta
from pipeline.output.delta_table import OutputTable
from pipeline.output.lease import FOLDER, Lease
from pipeline.output.metadata import Completion, RunFile, Summary, read_completion, read_run_file
from pipeline.output.repair import check_files, reopen_damaged, table_states
from pipeline.output.tables import SORT_COLUMNS, Tables
from pipeline.records import (
    DEAD_LETTERS_SCHEMA,
    OTHER_FILES_SCHEMA,
    SHARDS_SCHEMA,
    TAGS_SCHEMA,
)
from pipeline.storage import OutputStore, open_output_store, whole_name
from pipeline.units import counted

__all__ = ["OVERWRITING", "Output"]

logger = logging.getLogger(__name__)

OVERWRITING = ".overwriting"
"""Exists from the beginning to the end of an `--overwrite`'s removal of results."""

_FILES = ("run.json", THRESHOLD_LOG, "summary.json", "report.html", "_SUCCESS")
# All that a run killed before it wrote run.json can leave behind.
_HIDDEN_NAMES = (
    FOLDER + "/",
    OVERWRITING,
)


class Output:
    """An output.

    Args:
        location: a folder, or `s3://bucket/prefix`; need not exist yet.

    Raises:
        UsageError: `location` is neither.
    """

    def __init__(self, location: str | Path) -> None:
        self.store = open_output_store(location)
        self._lease: Lease | None = None
        self._run: RunFile | None = None
        self._tables: Tables | None = None

    def run_file(self) -> RunFile:
        """The last run; see `metadata.read_run_file`."""
        return read_run_file(self.store)

    def claim(self, run: RunFile, overwrite: bool, tags_schema: pa.Schema = TAGS_SCHEMA) -> RunFile:
        """Takes the output for a run and writes `run.json`.

        Deletes `_SUCCESS` first if some tags may be below the run's thresholds.

        Args:
            run: this run.
            overwrite: remove earlier results.
            tags_schema: of the `tags` table, with the columns that this job passes through.

        Returns:
            What was written: the run, with what it takes over from the one that it continues.

        Raises:
            UsageError: OUT holds something else or results that must not be mixed with these, or
                another run is writing to it.
            OutputFailedError: the storage cannot be used.
        """
        self.check_is_output()
        if not (overwrite or self._is_half_erased()):
            self._continued(run)
        self.store.prepare()
        epochs = [newest_epoch(self.store.child(name)) for name in SORT_COLUMNS]
        self._lease = Lease(self.store, run.run, max(epochs))
        try:
            if overwrite or self._is_half_erased():
                self._erase(self._lease.epoch, run.run)
            else:
                run = self._continued(run)  # again, now that no other run writes
                self._check_columns(tags_schema)
            if run.is_retag:
                self.mark_incomplete()
            self._write_run(run)
            self.store.delete([OVERWRITING])
        except BaseException:
            self.release()
            raise
        return run

    def check_is_output(self) -> None:
        """Checks that nothing else is in the way.

        Raises:
            UsageError: OUT is a file, or a folder that holds something else.
        """
        folder = self.store.local_folder
        if folder is not None and folder.exists() and not folder.is_dir():
            raise UsageError(f"out: must be a folder (got a file: {folder})")
        if self.has_run():
            return
        if any(not (name in _HIDDEN_NAMES or _is_partial(name)) for name in self.store.names()):
            raise UsageError(
                f"out: {self.store.uri} is not empty and no output of dvt; choose another --out"
            )

    def _continued(self, run: RunFile) -> RunFile:
        if not self.has_run():
            return run
        return continued_run(self.run_file(), run, self.store.uri)

    def has_run(self) -> bool:
        """Whether a run has been here."""
        return self.store.read("run.json") is not None

    def kept_columns(self) -> tuple[str, ...]:
        """Columns that the run to continue passes through; none if there is no such run."""
        if not self.has_run() or self._is_half_erased():
            return ()
        return self.run_file().settings.keep_columns

    def _check_columns(self, tags_schema: pa.Schema) -> None:
        for name, schema in _schemas(tags_schema).items():
            delta = open_delta(self.store.child(name))
            if delta is not None:
                check_columns(delta, schema)

    def _is_half_erased(self) -> bool:
        return self.store.read(OVERWRITING) is not None

    def _erase(self, epoch: int, run: str) -> None:
        """Removes what runs wrote here and nothing else.

        The proof of completion goes first, then the finished shards, then the rows that they count.
        If this ends early, `.overwriting` makes the next run erase the rest.
        """
        if self._is_half_erased():
            logger.warning("%s: removing what an unfinished --overwrite has left", self.store.uri)
        self.store.delete(["_SUCCESS"])
        self.store.write(OVERWRITING, run.encode())
        erased: list[tuple[OutputStore, list[str]]] = []
        for name in reversed(SORT_COLUMNS):
            store = self.store.child(name)
            delta = open_delta(store)
            if delta is not None:
                schema = pa.schema(delta.schema().to_arrow())
                table = OutputTable(store, schema, epoch, run, SORT_COLUMNS[name])
                erased.append((store, table.erase()))
        for store, names in erased:
            store.delete(names)
        self.store.delete(name for name in reversed(_FILES) if name != "run.json")

    def _write_run(self, run: RunFile) -> None:
        self._run = run
        self.store.write("run.json", run.model_dump_json(indent=1).encode())

    def release(self) -> None:
        """Ends the lease, so that the next run can start."""
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def tables(self, tags_schema: pa.Schema = TAGS_SCHEMA) -> Tables:
        """Opens the tables for the run that claimed the output.

        From here on no earlier run can commit. Files that it left uncommitted are deleted. Where
        rows have been lost that `shards` or `_SUCCESS` count, every shard is opened again.

        Args:
            tags_schema: see `claim`.

        Raises:
            StaleEpochError: a later run has taken over the output.
            UsageError: the tables have other columns.
            OutputFailedError: the storage cannot be used.
        """
        assert self._lease is not None, "an output must be claimed first"
        assert self._run is not None, "claiming writes run.json"
        opened = {
            name: OutputTable(
                self.store.child(name),
                schema,
                self._lease.epoch,
                self._run.run,
                SORT_COLUMNS[name],
            )
            for name, schema in _schemas(tags_schema).items()
        }
        self._tables = Tables(**opened)
        is_finished = self.store.read("_SUCCESS") is not None
        completion = read_completion(self.store)
        reopen_damaged(self._tables, self.mark_incomplete, is_finished, completion)
        self.store.delete(list(filter(_is_partial, self.store.names())))
        num_deleted = sum(table.remove_leftovers() for table in self._tables)
        if num_deleted:
            files = counted(num_deleted, "file")
            logger.info("deleted %s of earlier runs that no table refers to", files)
        return self._tables

    def mark_incomplete(self) -> None:
        """Deletes `_SUCCESS`; to be called before the first new row is committed."""
        self.store.delete(["_SUCCESS"])

    def merge_files(self) -> None:
        """Merges the small files of each table; readers see the same rows.

        A merge that fails is logged: the output is complete without it.

        Raises:
            StaleEpochError: a later run has taken over the output.
        """
        for table in self._tables or ():
            try:
                merge_small_files(table)
            except (OutputFailedError, pa.ArrowException, MemoryError) as error:
                line = " ".join(str(error).split())
                logger.warning("the small files of %s stay as they are: %s", table.store.uri, line)

    def complete(self, summary: Summary, is_whole: bool = True) -> None:
        """Writes `summary.json`, and `_SUCCESS` last.

        Args:
            summary: over all runs.
            is_whole: every file has an outcome, and every tag meets the run's thresholds; without
                it there is no `_SUCCESS`.

        Raises:
            StaleEpochError: a later run has taken over the output.
            OutputFailedError: committed files are missing.
        """
        assert self._run is not None, "an output must be claimed first"
        assert self._tables is not None, "its tables must be opened first"
        for table in self._tables:
            table.check_epoch()
            check_files(table)
        if not is_whole:
            self.mark_incomplete()
        self.store.write("summary.json", summary.model_dump_json(indent=1).encode())
        if is_whole:
            if self._run.is_retag:
                satisfied = {"satisfied_thresholds": None, "lacks_embeddings": False}
                self._write_run(self._run.model_copy(update=satisfied))
            completion = Completion(run=self._run.run, tables=table_states(self._tables))
            self.store.write("_SUCCESS", completion.model_dump_json(indent=1).encode())


def _is_partial(name: str) -> bool:
    """Whether it is a small file of dvt that a killed run has not finished."""
    return name != whole_name(name) and whole_name(name) in (*_FILES, OVERWRITING)


def _schemas(tags_schema: pa.Schema) -> dict[str, pa.Schema]:
    return {
        "tags": tags_schema,
        "dead_letters": DEAD_LETTERS_SCHEMA,
        "other_files": OTHER_FILES_SCHEMA,
        "shards": SHARDS_SCHEMA,
    }
