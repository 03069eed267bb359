"""The Parquet files of the output's tables: written by any process, invisible until committed.

A `WrittenFile` travels from the actor that wrote it to the coordinator, which adds it to the log.
Its name has the epoch of its run. So leftovers of a killed run can be distinguished from files that
a running one is about to commit.
"""

import json
import math
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.storage import OutputStore

__all__ = ["FileWriter", "WrittenFile", "epoch_of"]

# Small, so that a lookup of few keys reads little.
_ROW_GROUP_ROWS = 65_536
_ROW_GROUP_BYTES = 256 * 2**20
_BOUND_CHARS = 32
_NAME = re.compile(r"part-(\d{8})-[0-9a-f]{32}\.parquet")


_Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A Parquet file in a table's folder.

    Attributes:
        name: in the folder.
        size_bytes: of the file.
        num_rows: at least one.
        stats: column bounds in the log's JSON format, by which readers skip files.
    """

    name: str
    size_bytes: int
    num_rows: int
    stats: str


@dataclass(frozen=True, slots=True)
class FileWriter:
    """Writes files of one table; travels to the write actor.

    Attributes:
        store: the table's folder.
        epoch: of the run.
        sort_by: column to sort each file by.
    """

    store: OutputStore
    epoch: int
    sort_by: str

    def write(self, rows: pa.Table) -> WrittenFile:
        """Writes rows as one new file: durable, not yet committed.

        Args:
            rows: at least one.

        Raises:
            OutputFailedError: the storage keeps failing.
        """
        assert rows.num_rows, "a table has no empty files"
        name = f"part-{self.epoch:08d}-{uuid.uuid4().hex}.parquet"
        content = pa.BufferOutputStream()
        with pq.ParquetWriter(
            content, rows.schema, compression="zstd", write_page_checksum=True
        ) as writer:
            for group in _sorted_groups(rows, self.sort_by):
                writer.write_table(group)
        buffer = content.getvalue()
        self.store.write(name, memoryview(buffer))
        return WrittenFile(name, buffer.size, rows.num_rows, _stats(rows, self.sort_by))


def _sorted_groups(rows: pa.Table, sort_by: str) -> Iterator[pa.Table]:
    """The rows in order, in row groups that any reader can hold.

    A column of text or bytes holds at most 2 GB in one array, so the rows are never joined as such.
    """
    wide = pa.schema([field.with_type(_wide(field.type)) for field in rows.schema])
    order = pc.sort_indices(rows, [(sort_by, "ascending")])
    num_rows = max(1, min(_ROW_GROUP_ROWS, _ROW_GROUP_BYTES * rows.num_rows // (rows.nbytes + 1)))
    rows_of_wide = rows.cast(wide)
    for start in range(0, rows.num_rows, num_rows):
        yield rows_of_wide.take(order.slice(start, num_rows)).cast(rows.schema)


def _wide(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string(kind):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary(kind) else kind


def _stats(rows: pa.Table, sort_by: str) -> str:
    """Bounds of every column with an order, in the log's text forms.

    Only columns of nulls have none: deltalake's pyarrow reader takes a missing bound to exclude
    every row.
    """
    low: dict[str, _Value] = {}
    high: dict[str, _Value] = {}
    nulls: dict[str, int] = {}
    for field in rows.schema:
        if pa.types.is_nested(field.type) or pa.types.is_binary(field.type):
            continue
        column = rows[field.name]
        nulls[field.name] = column.null_count
        bounds = pc.min_max(column).as_py()
        if bounds["min"] is None:
            continue
        if bounds["min"] != bounds["min"]:  # nothing but NaN
            bounds = {"min": -math.inf, "max": math.inf}
        low[field.name], high[field.name] = _as_json(bounds["min"]), _as_json(bounds["max"])
        if pa.types.is_string(field.type) and field.name != sort_by:  # keeps the log small
            low[field.name] = bounds["min"][:_BOUND_CHARS]
            if len(bounds["max"]) > _BOUND_CHARS:
                high[field.name] = bounds["max"][:_BOUND_CHARS] + "\U0010ffff"
    return json.dumps(
        {"numRecords": rows.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls},
        allow_nan=False,
    )


def _as_json(value: "_Value | date | datetime") -> "_Value":
    """A bound in the form of the Delta protocol's per-file statistics."""
    if isinstance(value, datetime):
        text = value.replace(tzinfo=None).isoformat(timespec="microseconds")
        return text if value.tzinfo is None else f"{text}Z"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def epoch_of(name: str) -> int | None:
    """The epoch in a file's name; None if another program wrote it."""
    match = _NAME.fullmatch(name)
    return None if match is None else int(match[1])
