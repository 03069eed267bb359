"""The LanceDB table of an index: where it is, its search indexes, and LanceDB's errors.

LanceDB is an extra of the package, slow to import, and must not be open in a process that forks.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jobs.index.documents import VECTOR
from pipeline.errors import OutputFailedError, UsageError
from pipeline.storage import OutputStore

if TYPE_CHECKING:
    from lancedb.db import DBConnection
    from lancedb.table import Table

__all__ = [
    "TABLE",
    "connect",
    "index_failures",
    "list_of",
    "scalar_columns",
    "text",
    "vector_column",
]

TABLE = "images"
_PASSED_ON = ("aws_region", "aws_endpoint", "allow_http")


def connect(store: OutputStore) -> "DBConnection":
    """Opens the database of an index.

    Raises:
        UsageError: LanceDB is not installed.
    """
    os.environ.setdefault("LANCEDB_LOG", "error")  # its warnings concern the callers of its own API
    try:
        import lancedb
    except ImportError as error:
        raise UsageError("index: needs LanceDB: pip install 'dvt-pipeline[index]'") from error
    options = {name: value for name, value in store.delta_options.items() if name in _PASSED_ON}
    uri = store.uri if store.local_folder is None else str(store.local_folder)
    with index_failures(store.uri):
        return lancedb.connect(uri, storage_options=options or None)


def open_table(store: OutputStore) -> "Table":
    """Opens the table of an index.

    Raises:
        UsageError: there is none.
    """
    connection = connect(store)
    with index_failures(store.uri):
        if not has_table(connection):
            raise UsageError(f"index: {store.uri} has no images yet; dvt index fills it")
        return connection.open_table(TABLE)


def has_table(connection: "DBConnection") -> bool:
    """Whether the table has been created."""
    return TABLE in connection.list_tables().tables


@contextmanager
def index_failures(uri: str) -> Iterator[None]:
    """Maps LanceDB's errors to one line.

    Raises:
        OutputFailedError: LanceDB could not do what it was asked.
    """
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        line = re.split(r", (?:/|\S+\.rs:)|\n", " ".join(str(error).split()))[0][:300]
        raise OutputFailedError(f"index: {uri}: {line}") from error


def vector_column(space: str) -> str:
    """Column of a vector space; the model's own is called embedding."""
    return VECTOR if space == "embedding" else f"{VECTOR}_{space}"


def scalar_columns(kept: tuple[str, ...]) -> dict[str, str]:
    """Columns with an index for filters -> its type."""
    return {
        "key": "BTree",
        "label": "BTree",
        "confidence": "BTree",
        "exit_stage": "Bitmap",
        "groups": "LabelList",
        **dict.fromkeys(kept, "BTree"),
    }


def text(value: object) -> str:
    """A value as a literal of LanceDB's SQL."""
    if isinstance(value, bool | int | float):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def list_of(values: Any) -> str:
    """Values as a list in LanceDB's SQL."""
    return "(" + ", ".join(map(text, values)) + ")"
