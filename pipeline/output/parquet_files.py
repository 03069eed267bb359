"""The Parquet files of the output's tables: written by any process, invisible until committed.

A `WrittenFile` travels from the actor that wrote it to the coordinator, which adds it to the log.
Its name has the epoch of its run. So leftovers of a killed run can be distinguished from files that
a running one is about to commit.
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

__all__ = ["FileWriter", "WrittenFile", "epoch_of"]

# Small, so that a lookup of few keys reads little.
_ROW_GROUP_ROWS = 65_536
_BOUND_CHARS = 32
_NAME = re.compile(r"part-(\d{8})-[0-9a-f]{32}\.parquet")


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
        rows = rows.sort_by(self.sort_by)
        name = f"part-{self.epoch:08d}-{uuid.uuid4().hex}.parquet"
        content = pa.BufferOutputStream()
        pq.write_table(rows, content, compression="zstd", row_group_size=_ROW_GROUP_ROWS)
        buffer = content.getvalue()
        self.store.write(name, memoryview(buffer))
        return WrittenFile(name, buffer.size, rows.num_rows, _stats(rows, self.sort_by))


def _stats(rows: pa.Table, sort_by: str) -> str:
    """Bounds of every column with an order.

    None may be missing: deltalake's pyarrow reader takes a missing bound to exclude every row.
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
        if pa.types.is_string(field.type) and field.name != sort_by:  # keeps the log small
            low[field.name] = bounds["min"][:_BOUND_CHARS]
            if len(bounds["max"]) > _BOUND_CHARS:
                high[field.name] = bounds["max"][:_BOUND_CHARS] + "\U0010ffff"
    return json.dumps(
        {"numRecords": rows.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}
    )


def epoch_of(name: str) -> int | None:
    """The epoch in a file's name; None if another program wrote it."""
    match = _NAME.fullmatch(name)
    return None if match is None else int(match[1])
