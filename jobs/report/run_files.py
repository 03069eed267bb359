"""Reads `run.json`, `summary.json` and `_SUCCESS` of an output folder.

Only the fields the report uses are named; others are ignored, so that a newer `dvt tag` may add
some. What is wrong with a file is one `ValueError` line that names the file and the field.
"""

import json
from datetime import datetime
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

__all__ = ["RunManifest", "Summary", "read_run_manifest", "read_summary"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


_RecordType = TypeVar("_RecordType", bound=_Record)


class ModelFacts(_Record):
    """The model of a run; `gmacs_per_exit` is cumulative, the last is full depth."""

    name: str
    digest: str = ""
    num_classes: int = Field(ge=1)
    grids: list[int] = []
    gmacs_per_exit: list[float] = Field(min_length=1)


class Hardware(_Record):
    """What a run ran on."""

    cpu: str = ""
    num_cpus: int | None = None
    gpus: list[str] = []


class RunManifest(_Record):
    """`run.json`: configuration of the last run.

    `run` is the last run's name in the `shards` table. Where `run.json` does not tell it, the
    report takes the greatest name there.
    """

    inputs: list[str] = Field(min_length=1)
    model: ModelFacts
    thresholds: list[float] | None = None
    dtype: str = ""
    batch_size: int | None = None
    versions: dict[str, str | None] = {}
    hardware: Hardware = Hardware()
    started_at: datetime | None = None
    run: str | None = None

    @model_validator(mode="after")
    def _thresholds_fit_exits(self) -> Self:
        num_exits = len(self.model.gmacs_per_exit)
        # An empty list is what a full-depth run writes.
        if self.thresholds and len(self.thresholds) != num_exits - 1:
            raise ValueError(
                f"thresholds: {num_exits - 1} needed for {num_exits} exits, "
                f"received {len(self.thresholds)}"
            )
        if self.model.gmacs_per_exit[0] <= 0 or any(
            deeper < nearer for nearer, deeper in pairwise(self.model.gmacs_per_exit)
        ):
            raise ValueError("model.gmacs_per_exit: must be cumulative and above 0")
        return self

    @property
    def archive_name(self) -> str:
        """Last part of the first input, and how many more there are."""
        first = PurePosixPath(self.inputs[0].rstrip("/")).name or self.inputs[0]
        more = len(self.inputs) - 1
        return f"{first} and {more} more" if more else first


class Summary(_Record):
    """`summary.json`: totals over all runs. Only what the tables cannot tell is read."""

    images: int = Field(ge=0)
    seconds: float = Field(ge=0)
    images_per_second: float | None = None


def _read_record(path: Path, record: type[_RecordType]) -> _RecordType:
    try:
        return record.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path}: {where + ': ' if where else ''}{first['msg']}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not JSON ({error})") from error


def read_run_manifest(out: Path) -> RunManifest:
    """Reads `run.json`.

    Raises:
        ValueError: `out` is not an output of dvt, or the file is damaged.
    """
    path = out / "run.json"
    if not path.is_file():
        raise ValueError(f"{out}: not an output of dvt (it has no run.json)")
    return _read_record(path, RunManifest)


def read_summary(out: Path) -> Summary | None:
    """Reads `summary.json`; None unless `_SUCCESS` says that the output is complete.

    Raises:
        ValueError: The file is damaged.
    """
    path = out / "summary.json"
    if not ((out / "_SUCCESS").exists() and path.is_file()):
        return None
    return _read_record(path, Summary)
