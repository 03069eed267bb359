"""Parquet files of the output's tables: written anywhere, invisible until they are committed.

A `WrittenFile` travels from the actor that wrote it to the coordinator that adds it to the log. Its
name carries the epoch of the run that wrote it, so that what a killed run left can be told from
what a living one is about to commit.
"""

import json
import re
import uuid
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.storage import Place

__all__ = ["FileWriter", "UnwrittenFile", "WrittenFile", "epoch_of"]

# Small enough that a reader who wants few keys reads little.
_ROW_GROUP_ROWS = 65_536
_NAME = re.compile(r"part-(\d{8})-[0-9a-f]{32}\.parquet")


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A Parquet file of a table's folder.

    Attributes:
        name: in the folder.
        size_bytes: of the file.
        num_rows: at least one.
        first, last: smallest and largest value of the column it is sorted by.
        sorted_by: that column.
    """

    name: str
    size_bytes: int
    num_rows: int
    first: str
    last: str
    sorted_by: str

    @property
    def stats(self) -> str:
        """For the log, so that readers can skip the file."""
        column = self.sorted_by
        return json.dumps(
            {
                "numRecords": self.num_rows,
                "minValues": {column: self.first},
                "maxValues": {column: self.last},
                "nullCount": {column: 0},
            }
        )


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

    place: Place
    epoch: int
    sort_by: str

    def write(self, rows: pa.Table) -> WrittenFile:
        """Writes rows as one new file, durable but not yet committed.

        Args:
            rows: at least one.

        Raises:
            OutputFailed: the storage does not take it.
        """
        assert rows.num_rows, "an empty file has no place in a table"
        rows = rows.sort_by(self.sort_by)
        name = f"part-{self.epoch:08d}-{uuid.uuid4().hex}.parquet"
        content = pa.BufferOutputStream()
        pq.write_table(rows, content, compression="zstd", row_group_size=_ROW_GROUP_ROWS)
        buffer = content.getvalue()
        self.place.write(name, memoryview(buffer))
        bounds = pc.min_max(rows[self.sort_by]).as_py()
        return WrittenFile(
            name, buffer.size, rows.num_rows, bounds["min"], bounds["max"], self.sort_by
        )


def epoch_of(name: str) -> int | None:
    """The epoch in a file's name; None if no run of ours wrote it."""
    match = _NAME.fullmatch(name)
    return None if match is None else int(match[1])
