"""Reads a committed file in key order, a few rows at a time."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.output.parquet_files import epoch_of

__all__ = ["sorted_batches"]


def sorted_batches(
    filesystem: Any, name: str, schema: pa.Schema, num_rows: int, first: str = ""
) -> Iterator[pa.Table]:
    """Batches of a file in key order.

    Args:
        filesystem: of pyarrow, rooted in the table's folder.
        name: of the file.
        schema: of the batches, with a column `key`; columns that the file lacks are null.
        num_rows: of a batch, at most.
        first: rows with a lesser key may be left out.
    """
    with pq.ParquetFile(name, filesystem=filesystem, pre_buffer=False) as file:
        columns = [column for column in schema.names if column in file.schema_arrow.names]
        if epoch_of(name) is None:  # written by another program, so maybe not sorted
            rows = _as_schema(file.read(columns=columns), schema).sort_by("key")
            for start in range(0, rows.num_rows, num_rows):
                yield rows.slice(start, num_rows)
            return
        groups = [n for n in range(file.num_row_groups) if not _ends_before(file, n, first)]
        for batch in file.iter_batches(num_rows, row_groups=groups, columns=columns):
            yield _as_schema(pa.Table.from_batches([batch]), schema)


def _as_schema(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    for field in schema:
        if field.name not in rows.schema.names:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return rows.select(schema.names).cast(schema)


def _ends_before(file: pq.ParquetFile, group: int, first: str) -> bool:
    statistics = file.metadata.row_group(group).column(0).statistics
    return statistics is not None and statistics.has_min_max and statistics.max < first
