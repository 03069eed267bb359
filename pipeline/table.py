"""One Delta table of the output: files are written anywhere, rows exist when they are committed.

A `WrittenFile` travels from the actor that wrote the Parquet file to the coordinator that adds it
to the log. Files without a commit are invisible to every reader.
"""

import json
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.transaction import AddAction

__all__ = ["OutputTable", "WrittenFile", "write_file"]


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A Parquet file that waits for its commit; `min_key` and `max_key` let readers skip it."""

    name: str
    size_bytes: int
    num_rows: int
    stats: str


def write_file(folder: Path, rows: pa.Table, sort_by: str) -> WrittenFile:
    """Writes rows as one new Parquet file of a table's folder, durable but not yet committed.

    Args:
        folder: of the table.
        rows: at least one.
        sort_by: column to sort by; its smallest and largest value go into the log.
    """
    assert rows.num_rows, "an empty file has no place in a table"
    rows = rows.sort_by(sort_by)
    name = f"part-{uuid.uuid4().hex}.parquet"
    path = folder / name
    with path.open("wb") as stream:
        pq.write_table(rows, stream, compression="zstd")
        stream.flush()
        os.fsync(stream.fileno())  # the log must never name a file that a power cut empties
    bounds = pc.min_max(rows[sort_by]).as_py()
    stats = {
        "numRecords": rows.num_rows,
        "minValues": {sort_by: bounds["min"]},
        "maxValues": {sort_by: bounds["max"]},
        "nullCount": {sort_by: 0},
    }
    return WrittenFile(name, path.stat().st_size, rows.num_rows, json.dumps(stats))


class OutputTable:
    """A Delta table in a folder, created on first use.

    Args:
        folder: of the table.
        schema: of its rows.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.folder = folder
        self.schema = schema
        self._delta = DeltaTable.create(str(folder), schema=schema, mode="ignore")

    def commit(self, files: list[WrittenFile], metadata: dict[str, str]) -> None:
        """Makes the rows of these files visible, all at once.

        Args:
            files: written into this table's folder.
            metadata: goes into the log entry.
        """
        now_ms = int(time.time() * 1000)
        actions: list[Any] = [
            AddAction(file.name, file.size_bytes, {}, now_ms, True, file.stats) for file in files
        ]
        self._delta.create_write_transaction(
            actions,
            mode="append",
            schema=self.schema,
            commit_properties=CommitProperties(custom_metadata=metadata),
        )
        self._delta.update_incremental()

    def scan(self, columns: list[str], where: ds.Expression | None = None) -> pa.Table:
        """Committed rows; files whose keys lie outside `where` are not opened."""
        dataset = self._delta.to_pyarrow_dataset()
        table: pa.Table = dataset.to_table(columns=columns, filter=where)
        return table

    def commit_metadata(self) -> list[dict[str, Any]]:
        """What was given to `commit`, of every commit that the log still has."""
        return self._delta.history()

    @property
    def is_empty(self) -> bool:
        """No rows are committed."""
        return not self._delta.file_uris()
