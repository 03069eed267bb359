"""The output: what it belongs to, its tables, and the small files beside them.

OUT/tags/ dead_letters/ shards/   Delta tables
OUT/run.json                      identity and circumstances of the last run
OUT/summary.json                  totals over all runs
OUT/thresholds_used.json          of runs with a deadline: which were in use when
OUT/_SUCCESS                      written last
OUT/.runs/                        who is writing (`lease.py`)

OUT is a folder or `s3://bucket/prefix`; `storage/` makes them alike.
"""

import logging
from pathlib import Path

import pyarrow as pa
from pydantic import ValidationError

from pipeline.deadline.log import THRESHOLDS_USED
from pipeline.errors import UsageError
from pipeline.output.compaction import merge_small_files
from pipeline.output.delta_table import OutputTable, open_delta
from pipeline.output.lease import FOLDER, Lease
from pipeline.output.metadata import RunFile, Summary
from pipeline.output.retag import looser_exit
from pipeline.output.table_columns import check_columns
from pipeline.output.thresholds_text import thresholds_text
from pipeline.records import DEAD_LETTERS_SCHEMA, SHARDS_SCHEMA, TAGS_SCHEMA
from pipeline.storage import open_output_store

__all__ = ["Output"]

logger = logging.getLogger(__name__)

_TABLES = ("tags", "dead_letters", "shards")
_SORT_BY = ("key", "key", "shard")
_FILES = ("run.json", THRESHOLDS_USED, "summary.json", "report.html", "_SUCCESS")
# What a run that was killed at its very start may leave behind.
_OWN_HIDDEN = (FOLDER + "/", *(f".{name}.partial" for name in _FILES))


class Output:
    """An output.

    Args:
        location: a folder, or `s3://bucket/prefix`; need not exist yet.

    Raises:
        UsageError: it is neither.
    """

    def __init__(self, location: str | Path) -> None:
        self.place = open_output_store(location)
        self._lease: Lease | None = None
        self._run: RunFile | None = None
        self._tables: list[OutputTable] = []

    def claim(self, run: RunFile, overwrite: bool, tags_schema: pa.Schema = TAGS_SCHEMA) -> RunFile:
        """Makes sure that this run may write here, and says so in `run.json`.

        Where tags may not satisfy the run's thresholds yet, the proof of completion goes first.

        Args:
            run: this run.
            overwrite: remove what is there first.
            tags_schema: with the columns that this job adds to a tag.

        Returns:
            What is written, with what is satisfied_thresholds so far, and the audit of the runs before.

        Raises:
            UsageError: the place holds something else, another run is at work, its tables have
                other columns, or it holds results of another archive, model or number of labels,
                or of stricter thresholds, which must not be mixed with these.
            OutputFailedError: the storage cannot be used.
        """
        self._check_is_own()
        if not overwrite:
            self._check_continues(run)
        self.place.prepare()
        self._lease = Lease(self.place, run.run)
        try:
            if overwrite:
                self._erase(self._lease.epoch)
            else:
                run = self._check_continues(run)  # again, now that nobody else writes
                self._check_columns(tags_schema)
            if run.satisfied_thresholds is not None:
                self.reopen()
            self._write_run(run)
        except BaseException:
            self.release()
            raise
        return run

    def _write_run(self, run: RunFile) -> None:
        self._run = run
        self.place.write("run.json", run.model_dump_json(indent=1).encode())

    def _check_is_own(self) -> None:
        folder = self.place.local_folder
        if folder is not None and folder.exists() and not folder.is_dir():
            raise UsageError(f"out: must be a folder (got a file: {folder})")
        if self.place.read("run.json") is not None:
            return
        if any(name not in _OWN_HIDDEN for name in self.place.names()):
            raise UsageError(
                f"out: {self.place.uri} is not empty and no output of dvt; choose another --out"
            )

    def _erase(self, epoch: int) -> None:
        """Removes what a run wrote here, the proof of completion first, and nothing else."""
        self.place.delete(name for name in reversed(_FILES) if name != "run.json")
        for name, sort_by in zip(_TABLES, _SORT_BY, strict=True):
            place = self.place.child(name)
            delta = open_delta(place)
            if delta is not None:
                schema = pa.schema(delta.schema().to_arrow())
                OutputTable(place, schema, epoch, sort_by).erase()

    def _check_columns(self, tags_schema: pa.Schema) -> None:
        """Before anything changes; a table that is not there yet gets the right ones."""
        for name, schema in zip(_TABLES, _schemas(tags_schema), strict=True):
            delta = open_delta(self.place.child(name))
            if delta is not None:
                check_columns(delta, schema)

    def release(self) -> None:
        """Lets the next run in."""
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    def run_file(self) -> RunFile | None:
        """What the last run was; None if there was none.

        Raises:
            UsageError: it is damaged, or of another version.
        """
        content = self.place.read("run.json")
        if content is None:
            return None
        try:
            return RunFile.model_validate_json(content)
        except ValidationError as error:
            raise UsageError(
                f"out: run.json in {self.place.uri} was not written by this version of dvt; "
                "choose another --out"
            ) from error

    def _check_continues(self, run: RunFile) -> RunFile:
        """Returns the run with what it takes over from the one before.

        That is the audit, if it names none, and the thresholds that all tags satisfy, if they are
        other than its own.
        """
        earlier = self.run_file()
        if earlier is None:
            return run
        audit = earlier.audit if run.audit is None else run.audit
        way_out = "choose another --out, or --overwrite to start anew"
        pairs = (
            ("archive", ", ".join(earlier.inputs), ", ".join(run.inputs)),
            (
                "model",
                f"{earlier.model.name} ({earlier.model.digest})",
                f"{run.model.name} ({run.model.digest})",
            ),
            ("top-k", earlier.top_k, run.top_k),
            ("keep-columns", list(earlier.keep_columns), list(run.keep_columns)),
            ("audit", _share_text(earlier.audit), _share_text(audit)),
        )
        for field, before, now in pairs:
            if before != now:
                raise UsageError(
                    f"out: {self.place.uri} holds results of another {field}: {before}, "
                    f"not {now}; {way_out}"
                )
        stage = looser_exit(earlier.thresholds, run.thresholds)
        if stage is not None:
            raise UsageError(
                f"out: {self.place.uri} holds results of stricter thresholds: "
                f"{thresholds_text(earlier.thresholds)}, not {thresholds_text(run.thresholds)}, "
                f"looser at exit {stage}; the same or stricter ones continue it, as by "
                f"--thresholds with those of its run.json, or by --deadline again if it had one; "
                f"for looser ones {way_out}"
            )
        satisfied_thresholds = (
            earlier.thresholds
            if earlier.satisfied_thresholds is None
            else earlier.satisfied_thresholds
        )
        reached_before = None if satisfied_thresholds == run.thresholds else satisfied_thresholds
        return run.model_copy(update={"audit": audit, "satisfied_thresholds": reached_before})

    def tables(
        self, tags_schema: pa.Schema = TAGS_SCHEMA
    ) -> tuple[OutputTable, OutputTable, OutputTable]:
        """Tags, dead letters and shards, for the run that claimed the output.

        From here on no earlier run can commit any more; what it left without a commit is removed.

        Args:
            tags_schema: with the columns that this job adds to a tag.

        Raises:
            StaleEpochError: a later run has the output.
            UsageError: the tables have other columns.
            OutputFailedError: the storage cannot be used.
        """
        assert self._lease is not None, "an output is claimed first"
        tags, dead_letters, shards = self._tables = [
            OutputTable(self.place.child(name), schema, self._lease.epoch, sort_by)
            for name, schema, sort_by in zip(_TABLES, _schemas(tags_schema), _SORT_BY, strict=True)
        ]
        num_removed = sum(table.remove_leftovers() for table in self._tables)
        if num_removed:
            logger.info("removed %d files of earlier runs that are in no table", num_removed)
        return tags, dead_letters, shards

    def reopen(self) -> None:
        """Takes the proof of completion away, before the first new row is committed."""
        self.place.delete(["_SUCCESS"])

    def merge_files(self) -> None:
        """Makes few files of many; readers notice nothing."""
        for table in self._tables:
            merge_small_files(table)

    def complete(self, summary: Summary, is_whole: bool = True) -> None:
        """Writes the totals, and last the proof of completion.

        Args:
            summary: over all runs.
            is_whole: every image has a result that satisfies the run's thresholds.

        Raises:
            StaleEpochError: a later run has the output.
        """
        for table in self._tables:
            table.check_epoch()
        self.place.write("summary.json", summary.model_dump_json(indent=1).encode())
        if is_whole:
            if self._run is not None and self._run.satisfied_thresholds is not None:
                self._write_run(self._run.model_copy(update={"satisfied_thresholds": None}))
            self.place.write("_SUCCESS", b"")


def _schemas(tags_schema: pa.Schema) -> tuple[pa.Schema, ...]:
    return tags_schema, DEAD_LETTERS_SCHEMA, SHARDS_SCHEMA


def _share_text(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:g} %"
