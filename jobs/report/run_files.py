"""Reads `run.json`, `summary.json` and `_SUCCESS` of an output folder.

What is wrong with a file is one `ValueError` line that names the file and the field.
"""

from pathlib import Path, PurePosixPath
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from dvt.config import first_problem
from pipeline.output import RunFile, Summary

__all__ = ["archive_name", "read_run", "read_summary"]

_Record = TypeVar("_Record", bound=BaseModel)


def archive_name(run: RunFile) -> str:
    """Last part of the first input, and how many more there are."""
    first = PurePosixPath(run.inputs[0].rstrip("/")).name or run.inputs[0]
    more = len(run.inputs) - 1
    return f"{first} and {more} more" if more else first


def _read(path: Path, record: type[_Record]) -> _Record:
    try:
        return record.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path}: {first_problem(error)}") from error


def read_run(out: Path) -> RunFile:
    """Reads `run.json`.

    Raises:
        ValueError: `out` is not an output of dvt, or the file is damaged.
    """
    path = out / "run.json"
    if not path.is_file():
        raise ValueError(f"{out}: not an output of dvt (it has no run.json)")
    return _read(path, RunFile)


def read_summary(out: Path) -> Summary | None:
    """Reads `summary.json`; None unless `_SUCCESS` says that the output is complete.

    Raises:
        ValueError: The file is damaged.
    """
    path = out / "summary.json"
    if not ((out / "_SUCCESS").exists() and path.is_file()):
        return None
    return _read(path, Summary)
