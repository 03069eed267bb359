"""The small files beside the tables: `run.json`, `summary.json` and `_SUCCESS`."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dvt.validation import first_problem
from pipeline.audit.summary import AuditSummary
from pipeline.deadline.log import DeadlineOutcome
from pipeline.errors import UsageError
from pipeline.settings import TagSettings
from pipeline.storage import OutputStore

__all__ = [
    "RUN_FORMAT",
    "Completion",
    "Hardware",
    "ModelIdentity",
    "RunFile",
    "Summary",
    "TableState",
    "read_completion",
    "read_run_file",
    "read_summary",
    "thresholds_text",
]

RUN_FORMAT: Final = 1
"""Version of `run.json`; a new one means that older outputs cannot be continued."""


class ModelIdentity(BaseModel):
    """The model of a run.

    `groups` is the digest of its groups of classes, `last_member` as in `dvt.ModelSpec`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    digest: str
    num_classes: int
    stages: tuple[str, ...]
    gmacs_per_exit: tuple[float, ...]
    groups: str = ""
    last_member: tuple[str, float] | None = None

    @property
    def digests(self) -> str:
        """Of the model and its groups, as the cascade actors compare them."""
        return f"{self.digest} {self.groups}".rstrip()

    def __str__(self) -> str:
        return f"{self.name} ({self.digest})"


class Hardware(BaseModel):
    """The machine that a run was started on."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    cpu: str
    num_cpus: int
    gpus: tuple[str, ...]


class RunFile(BaseModel):
    """`run.json`: what the last run was, so that the next one can continue it.

    Attributes:
        format: version of this file; any other one is refused.
        inputs: names of the archive's parts, the same on every machine.
        thresholds: of this run; never looser than those of earlier runs.
        dtype: precision of the computation, that of the first run.
        satisfied_thresholds: while a run with stricter thresholds is unfinished, those that every
            tag meets already; None if these are `thresholds`.
        lacks_embeddings: while a run that adds them is unfinished, some tags may have none.
        settings: of the job, with absolute paths and without credentials.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = RUN_FORMAT
    run: str
    inputs: tuple[str, ...]
    model: ModelIdentity
    thresholds: tuple[float, ...]
    satisfied_thresholds: tuple[float, ...] | None = None
    lacks_embeddings: bool = False
    dtype: str
    versions: dict[str, str]
    hardware: Hardware
    started_at: datetime
    settings: TagSettings

    @property
    def is_retag(self) -> bool:
        """Whether finished shards may hold tags that do not meet what this run requires."""
        return self.satisfied_thresholds is not None or self.lacks_embeddings

    @property
    def state_format(self) -> str:
        """Format of the features sent between pools."""
        return self.settings.state or self.dtype

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
    images: Annotated[
        int, Field(description="files or rows in the archive, those that are no pictures included")
    ]
    tagged: int
    dead_letters: int
    other_files: Annotated[int, Field(description="files that are no pictures; no failures")]
    skipped: Annotated[int, Field(description="of `images`, done by earlier runs")]
    tagged_before: Annotated[
        int, Field(description="images with a tag of an earlier run; 0 over all runs")
    ] = 0
    retagged: Annotated[
        int, Field(description="of those, below the thresholds of this run and done again")
    ] = 0
    exits: tuple[int, ...]
    gmacs_per_image: float | None
    gmacs_full_depth: float
    seconds: float
    images_per_second: Annotated[
        float | None, Field(description="tagged or failed; other files do not count")
    ]
    out: str
    audit: Annotated[
        AuditSummary | None, Field(description="over all runs; null if nothing is audited")
    ] = None
    deadline: Annotated[
        DeadlineOutcome | None, Field(description="of this run; null without one")
    ] = None


class TableState(BaseModel):
    """A table at the end of a run.

    Attributes:
        rows: as counted in its log.
        last_commit: epoch and number of the last commit of rows (`delta_log.py`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    rows: int
    last_commit: tuple[int, int] | None


class Completion(BaseModel):
    """`_SUCCESS`: the tables that it was written for, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    run: str
    tables: dict[str, TableState]


_Record = TypeVar("_Record", RunFile, Summary)


def read_run_file(store: OutputStore) -> RunFile:
    """Reads `run.json` of an output.

    Raises:
        UsageError: the file is missing, damaged or of another version.
        OutputFailedError: the storage cannot be read.
    """
    run = _read(store, "run.json", RunFile)
    if run is None:
        raise UsageError(f"out: {store.uri} is no output of dvt (it has no run.json)")
    return run


def read_completion(store: OutputStore) -> Completion | None:
    """Reads `_SUCCESS` of an output; None if it is missing or damaged."""
    try:
        return Completion.model_validate_json(store.read("_SUCCESS") or b"")
    except ValidationError:
        return None


def read_summary(store: OutputStore) -> Summary | None:
    """Reads `summary.json` of an output; None unless `_SUCCESS` marks it as complete.

    Raises:
        UsageError: the file is damaged or of another version.
        OutputFailedError: the storage cannot be read.
    """
    return None if store.read("_SUCCESS") is None else _read(store, "summary.json", Summary)


def _read(store: OutputStore, name: str, record: type[_Record]) -> _Record | None:
    content = store.read(name)
    if content is None:
        return None
    try:
        return record.model_validate_json(content)
    except ValidationError as error:
        raise UsageError(
            f"out: {name} in {store.uri} is damaged or of another version of dvt "
            f"({first_problem(error)}); dvt tag --overwrite starts over"
        ) from error


def thresholds_text(thresholds: Sequence[float]) -> str:
    """Thresholds for people: one number for each exit but the last, "none" for an unused exit."""
    if thresholds and min(thresholds) > 1:
        return "full depth"
    return " / ".join("none" if value > 1 else f"{value:.4g}" for value in thresholds)
