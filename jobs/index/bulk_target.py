"""Writes changes as bulk files for OpenSearch or Elasticsearch, and the body of their index.

    INDEX/index-body.json                     PUT /NAME
    INDEX/bulk-VERSION-RANGE-PART.ndjson.gz   POST /NAME/_bulk, in the order of their names

A file is the body of one request. Ids are hashes of the keys, and all actions are `index` and
`delete`, so loading a file twice changes nothing.
"""

import gzip
import hashlib
import json
import math
from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.index.bulk_mappings import Engine, index_body
from jobs.index.lance_table import vector_column
from jobs.index.state import VectorSpace
from jobs.index.target import DocumentChanges
from jobs.index.vectors import as_matrix
from pipeline.storage import OutputStore

__all__ = ["BulkTarget", "document_id"]

_BODY_FILE = "index-body.json"
_MAX_BYTES = 14 * 10**6
"""Of a body, uncompressed; both engines advise 5 to 15 MB."""

_SLICE_ROWS = 2000
"""Rows that are Python objects at once, which take many times the memory."""

_DECIMALS = 5


def document_id(key: str) -> str:
    """The `_id` of an image, 32 characters; keys may be longer than the 512 bytes allowed."""
    return hashlib.blake2b(key.encode(), digest_size=16).hexdigest()


class BulkTarget:
    """Bulk files.

    Args:
        store: of the index.
        engine: that will load them.
        schema: of the documents.
        spaces: vector spaces by name.
    """

    can_compare = False

    def __init__(
        self,
        store: OutputStore,
        engine: Engine,
        schema: pa.Schema,
        spaces: dict[str, VectorSpace],
    ) -> None:
        self._store, self._engine, self._schema = store, engine, schema
        self.spaces = spaces
        self._columns = {vector_column(name): space for name, space in spaces.items()}
        self._num_files = 0

    def clear(self) -> None:
        """See `Target`."""
        self._store.delete([name for name in self._store.names() if name.startswith("bulk-")])

    def apply(self, changes: DocumentChanges) -> None:
        """See `Target`."""
        prefix = f"bulk-{changes.version:08d}-{changes.number:06d}"
        for number, body in enumerate(_bodies(self._actions(changes))):
            content = gzip.compress(body, compresslevel=6, mtime=0)
            self._store.write(f"{prefix}-{number:03d}.ndjson.gz", content)
            self._num_files += 1

    def finish(self, num_changed: int) -> dict[str, Any]:
        """See `Target`."""
        body = index_body(self._engine, self._schema, self._columns)
        self._store.write(_BODY_FILE, (json.dumps(body, indent=1) + "\n").encode())
        return {"documents": None, "files": self._num_files}

    def _actions(self, changes: DocumentChanges) -> Iterator[bytes]:
        for key in changes.removed.to_pylist():
            yield _line({"delete": {"_id": document_id(key)}})
        for start in range(0, changes.written.num_rows, _SLICE_ROWS):
            for document in self._documents(changes.written.slice(start, _SLICE_ROWS)):
                yield _line({"index": {"_id": document_id(document["key"])}}) + _line(document)

    def _documents(self, rows: pa.Table) -> Iterator[dict[str, Any]]:
        """Documents as JSON objects, without nulls."""
        plain = rows.select([name for name in rows.schema.names if name not in self._columns])
        vectors = {name: _rounded(rows[name]) for name in self._columns}
        for number, row in enumerate(plain.to_pylist()):
            found = {
                name: shown for name, value in row.items() if (shown := _json(value)) is not None
            }
            yield found | {
                name: values[number] for name, values in vectors.items() if values[number]
            }


def _rounded(column: pa.ChunkedArray) -> list[list[float] | None]:
    matrix, is_there = as_matrix(column)
    values = iter(np.round(matrix.astype(np.float64), _DECIMALS).tolist())
    return [next(values) if there else None for there in is_there]


def _json(value: object) -> object:
    """A value as JSON knows it; None for what it does not know."""
    if isinstance(value, list):
        return [_json(each) for each in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value.isoformat() if isinstance(value, date) else value


def _line(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode() + b"\n"


def _bodies(actions: Iterator[bytes]) -> Iterator[bytes]:
    """The actions in full bodies; one that is larger alone has its own."""
    body: list[bytes] = []
    num_bytes = 0
    for action in actions:
        if body and num_bytes + len(action) > _MAX_BYTES:
            yield b"".join(body)
            body, num_bytes = [], 0
        body.append(action)
        num_bytes += len(action)
    if body:
        yield b"".join(body)
