"""Parquet files of the output's tables: written anywhere, invisible until they are committed.

A `WrittenFile` travels from the actor that wrote it to the coordinator that adds it to the log. Its
name carries the epoch of the run that wrote it, so that what a killed run left can be told from
what a living one is about to commit.
"""

import json
import re
import uuid
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.storage import OutputStore

__all__ = ["FileWriter", "UnwrittenFile", "WrittenFile", "epoch_of"]

# Small enough that a reader who wants few keys reads little.
_ROW_GROUP_ROWS = 65_536
_BOUND_CHARS = 32
_NAME = re.compile(r"part-(\d{8})-[0-9a-f]{32}\.parquet")


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A Parquet file of a table's folder.

    Attributes:
        name: in the folder.
        size_bytes: of the file.
        num_rows: at least one.
        stats: bounds of its columns as the log has them, so that readers can skip it.
    """

    name: str
    size_bytes: int
    num_rows: int
    stats: str


@dataclass(frozen=True, slots=True)
class UnwrittenFile:
    """Why a file could not be written, in one line; an actor's answer, since it must not raise."""

    problem: str


@dataclass(frozen=True, slots=True)
class FileWriter:
    """Writes files of one table; travels to the write actor.

    Attributes:
        place: the table's folder.
        epoch: of the run.
        sort_by: column to sort each file by.
    """

    place: OutputStore
    epoch: int
    sort_by: str

    def write(self, rows: pa.Table) -> WrittenFile:
        """Writes rows as one new file, durable but not yet committed.

        Args:
            rows: at least one.

        Raises:
            OutputFailedError: the storage does not take it.
        """
        assert rows.num_rows, "an empty file has no place in a table"
        rows = rows.sort_by(self.sort_by)
        name = f"part-{self.epoch:08d}-{uuid.uuid4().hex}.parquet"
        content = pa.BufferOutputStream()
        pq.write_table(rows, content, compression="zstd", row_group_size=_ROW_GROUP_ROWS)
        buffer = content.getvalue()
        self.place.write(name, memoryview(buffer))
        return WrittenFile(name, buffer.size, rows.num_rows, _stats(rows, self.sort_by))


def _stats(rows: pa.Table, sort_by: str) -> str:
    """Bounds of every column that has an order.

    Of all of them, because deltalake takes a bound that is missing for one that no row meets.
    """
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for field in rows.schema:
        if pa.types.is_nested(field.type) or pa.types.is_binary(field.type):
            continue
        column = rows[field.name]
        nulls[field.name] = column.null_count
        bounds = pc.min_max(column).as_py()
        if bounds["min"] is None or bounds["min"] != bounds["min"]:
            continue
        low[field.name], high[field.name] = bounds["min"], bounds["max"]
        if pa.types.is_string(field.type) and field.name != sort_by:  # the log stays small
            low[field.name] = bounds["min"][:_BOUND_CHARS]
            if len(bounds["max"]) > _BOUND_CHARS:
                high[field.name] = bounds["max"][:_BOUND_CHARS] + "\U0010ffff"
    return json.dumps(
        {"numRecords": rows.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}
    )


def epoch_of(name: str) -> int | None:
    """The epoch in a file's name; None if no run of ours wrote it."""
    match = _NAME.fullmatch(name)
    return None if match is None else int(match[1])
