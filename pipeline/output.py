"""The output folder: what it belongs to, its tables, and the small files beside them.

OUT/tags/ dead_letters/ shards/   Delta tables
OUT/run.json                      identity and circumstances of the last run
OUT/summary.json                  totals over all runs
OUT/_SUCCESS                      written last
"""

import fcntl
import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Annotated, Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import UsageError
from pipeline.records import DEAD_LETTERS_SCHEMA, SHARDS_SCHEMA, TAGS_SCHEMA
from pipeline.table import OutputTable

__all__ = ["Hardware", "ModelIdentity", "Output", "RunFile", "Summary"]

_TABLES = ("tags", "dead_letters", "shards")
_FILES = ("run.json", "summary.json", "report.html", "_SUCCESS")
_LOCK = ".lock"
# What a run that was killed at its very start may leave behind.
_OWN_HIDDEN = (_LOCK, *(f".{name}.partial" for name in _FILES))


class ModelIdentity(BaseModel):
    """Which model it was."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    digest: str
    num_classes: int
    grids: tuple[int, ...]
    gmacs_per_exit: tuple[float, ...]


class Hardware(BaseModel):
    """What a run ran on."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    cpu: str
    num_cpus: int
    gpus: tuple[str, ...]


class RunFile(BaseModel):
    """`run.json`: what makes a run continue an earlier one, and under which circumstances."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    run: str
    inputs: tuple[str, ...]
    model: ModelIdentity
    thresholds: tuple[float, ...]
    top_k: int
    keep_columns: tuple[str, ...] = ()
    dtype: str
    batch_size: int
    versions: dict[str, str]
    hardware: Hardware
    started_at: datetime

    @model_validator(mode="after")
    def _thresholds_fit_exits(self) -> Self:
        num_exits = len(self.model.gmacs_per_exit)
        if len(self.thresholds) != num_exits - 1:
            raise ValueError(
                f"thresholds: {num_exits - 1} needed for {num_exits} exits, "
                f"received {len(self.thresholds)}"
            )
        return self


class Summary(BaseModel):
    """The JSON line of `dvt tag`; in `summary.json` over all runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    images: Annotated[int, Field(description="images the archive holds")]
    tagged: int
    dead_letters: int
    skipped: Annotated[int, Field(description="images that earlier runs had done")]
    exits: tuple[int, ...]
    gmacs_per_image: float | None
    gmacs_full_depth: float
    seconds: float
    images_per_second: float | None
    out: str


class Output:
    """An output folder.

    Args:
        folder: need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def claim(self, run: RunFile, overwrite: bool) -> None:
        """Makes sure that this run may write here, and says so in `run.json`.

        Raises:
            UsageError: the folder holds something else, another run is at work, or it holds
                results of another archive, model, thresholds or number of labels, which must not
                be mixed with these.
        """
        self._check_is_own()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock()
        try:
            if overwrite:
                self._remove_own()
            earlier = self._earlier_run()
            if earlier is not None:
                self._check_continues(earlier, run)
            self._replace("run.json", run.model_dump_json(indent=1))
        except BaseException:
            self.release()
            raise

    def _check_is_own(self) -> None:
        if not self.folder.exists():
            return
        if not self.folder.is_dir():
            raise UsageError(f"out: must be a folder (got a file: {self.folder})")
        strangers = [entry for entry in self.folder.iterdir() if entry.name not in _OWN_HIDDEN]
        if strangers and not (self.folder / "run.json").is_file():
            raise UsageError(
                f"out: {self.folder} is not empty and no output of dvt; choose another --out"
            )

    def _lock(self) -> None:
        """Held until the process ends, however it ends."""
        self._lock_file = (self.folder / _LOCK).open("w")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.release()
            raise UsageError(
                f"out: another run is writing to {self.folder}; wait for its end, or choose "
                "another --out"
            ) from error

    def release(self) -> None:
        """Lets the next run in."""
        self._lock_file.close()

    def _earlier_run(self) -> RunFile | None:
        path = self.folder / "run.json"
        if not path.exists():
            return None
        try:
            return RunFile.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise UsageError(
                f"out: {path} was not written by this version of dvt; choose another --out"
            ) from error

    def _check_continues(self, earlier: RunFile, run: RunFile) -> None:
        way_out = "choose another --out, or --overwrite to start anew"
        pairs = (
            ("archive", ", ".join(earlier.inputs), ", ".join(run.inputs)),
            (
                "model",
                f"{earlier.model.name} ({earlier.model.digest})",
                f"{run.model.name} ({run.model.digest})",
            ),
            ("thresholds", list(earlier.thresholds), list(run.thresholds)),
            ("top-k", earlier.top_k, run.top_k),
            ("keep-columns", list(earlier.keep_columns), list(run.keep_columns)),
        )
        for field, before, now in pairs:
            if before != now:
                raise UsageError(
                    f"out: {self.folder} holds results of another {field}: {before}, "
                    f"not {now}; {way_out}"
                )

    def _remove_own(self) -> None:
        """Deletes what a run wrote here, the proof of completion first, and nothing else."""
        for name in reversed(_FILES):
            if name != "run.json":
                (self.folder / name).unlink(missing_ok=True)
        for name in _TABLES:
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "run.json").unlink(missing_ok=True)

    def tables(
        self, tags_schema: pa.Schema = TAGS_SCHEMA
    ) -> tuple[OutputTable, OutputTable, OutputTable]:
        """Tags, dead letters and shards.

        Args:
            tags_schema: with the columns that this job adds to a tag.
        """
        schemas = (tags_schema, DEAD_LETTERS_SCHEMA, SHARDS_SCHEMA)
        tags, dead_letters, shards = (
            OutputTable(self.folder / name, schema)
            for name, schema in zip(_TABLES, schemas, strict=True)
        )
        return tags, dead_letters, shards

    def reopen(self) -> None:
        """Takes the proof of completion away, before the first new row is committed."""
        (self.folder / "_SUCCESS").unlink(missing_ok=True)

    def complete(self, summary: Summary) -> None:
        """Writes the totals, and last the proof of completion."""
        self._replace("summary.json", summary.model_dump_json(indent=1))
        self._replace("_SUCCESS", "")

    def _replace(self, name: str, text: str) -> None:
        partial = self.folder / f".{name}.partial"
        with partial.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(self.folder / name)
