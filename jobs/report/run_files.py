"""Reads `run.json`, `summary.json` and `_SUCCESS` of an output.

What is wrong with a file is one `ValueError` line that names the file and the field.
"""

from pathlib import PurePosixPath
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from dvt.validation import first_problem
from pipeline.output.metadata import RunFile, Summary
from pipeline.storage import OutputStore

__all__ = ["archive_name", "read_run", "read_summary"]

_Record = TypeVar("_Record", bound=BaseModel)


def archive_name(run: RunFile) -> str:
    """Last part of the first input, and how many more there are."""
    first = PurePosixPath(run.inputs[0].rstrip("/")).name or run.inputs[0]
    more = len(run.inputs) - 1
    return f"{first} and {more} more" if more else first


def _parsed(out: OutputStore, name: str, content: bytes, record: type[_Record]) -> _Record:
    try:
        return record.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"{out.uri}/{name}: {first_problem(error)}") from error


def read_run(out: OutputStore) -> RunFile:
    """Reads `run.json`.

    Raises:
        ValueError: `out` is not an output of dvt, or the file is damaged.
    """
    content = out.read("run.json")
    if content is None:
        raise ValueError(f"{out.uri}: not an output of dvt (it has no run.json)")
    return _parsed(out, "run.json", content, RunFile)


def read_summary(out: OutputStore) -> Summary | None:
    """Reads `summary.json`; None unless `_SUCCESS` says that the output is complete.

    Raises:
        ValueError: The file is damaged.
    """
    content = out.read("summary.json")
    if content is None or out.read("_SUCCESS") is None:
        return None
    return _parsed(out, "summary.json", content, Summary)
