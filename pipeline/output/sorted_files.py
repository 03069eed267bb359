"""Reads a committed file: in key order, a few rows at a time, or the rows at some places."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.output.parquet_files import epoch_of

__all__ = ["ROW", "columns_with_nulls", "rows_at", "sorted_batches"]

ROW = "_row"
"""Column that `sorted_batches` adds on request: number of the row in its file, from 0."""


def sorted_batches(
    filesystem: Any, name: str, schema: pa.Schema, num_rows: int, first: str = ""
) -> Iterator[pa.Table]:
    """Batches of a file in key order.

    Args:
        filesystem: of pyarrow, rooted in the table's folder.
        name: of the file.
        schema: of the batches, with a column `key`, and maybe one called `ROW`; other columns that
            the file lacks are null.
        num_rows: of a batch, at most.
        first: rows with a lesser key may be left out.
    """
    with pq.ParquetFile(name, filesystem=filesystem, pre_buffer=False) as file:
        columns = [column for column in schema.names if column in file.schema_arrow.names]
        if epoch_of(name) is None:  # written by another program, so maybe not sorted
            rows = _as_schema(file.read(columns=columns), schema, np.arange(file.metadata.num_rows))
            rows = rows.sort_by("key")
            for start in range(0, rows.num_rows, num_rows):
                yield rows.slice(start, num_rows)
            return
        groups = [n for n in range(file.num_row_groups) if not _ends_before(file, n, first)]
        starts = _group_starts(file)
        numbers = [np.arange(starts[group], starts[group + 1]) for group in groups]
        number_of = np.concatenate([np.arange(0), *numbers])
        for batch in file.iter_batches(num_rows, row_groups=groups, columns=columns):
            yield _as_schema(pa.Table.from_batches([batch]), schema, number_of[: batch.num_rows])
            number_of = number_of[batch.num_rows :]


def rows_at(filesystem: Any, name: str, schema: pa.Schema, numbers: NDArray[np.int64]) -> pa.Table:
    """Rows of a file by their numbers, in that order; reads the row groups that hold them.

    Args:
        filesystem: of pyarrow, rooted in the table's folder.
        name: of the file.
        schema: of the rows.
        numbers: of the rows, from 0.
    """
    order = np.argsort(numbers, kind="stable")
    pieces = [schema.empty_table()]
    with pq.ParquetFile(name, filesystem=filesystem, pre_buffer=False) as file:
        bounds = np.searchsorted(numbers[order], _group_starts(file))
        starts = _group_starts(file)
        for group in np.flatnonzero(np.diff(bounds)):
            inside = numbers[order[bounds[group] : bounds[group + 1]]] - starts[group]
            rows = file.read_row_group(int(group), columns=schema.names)
            pieces.append(_as_schema(rows.take(pa.array(inside)), schema, inside))
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return pa.concat_tables(pieces).take(pa.array(back))


def columns_with_nulls(filesystem: Any, name: str, columns: Sequence[str]) -> set[str]:
    """Those of some columns that may have a null or an empty list in a file, by its footer."""
    with pq.ParquetFile(name, filesystem=filesystem, pre_buffer=False) as file:
        found = set(columns) - set(file.schema_arrow.names)
        metadata = file.metadata
        for group in (metadata.row_group(n) for n in range(metadata.num_row_groups)):
            for chunk in (group.column(n) for n in range(group.num_columns)):
                column = chunk.path_in_schema.partition(".")[0]
                statistics = chunk.statistics
                is_full = statistics is not None and statistics.has_null_count
                if column in columns and not (is_full and statistics.null_count == 0):
                    found.add(column)
    return found


def _group_starts(file: pq.ParquetFile) -> NDArray[np.int64]:
    """Number of the first row of each row group, and the number of rows."""
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def _as_schema(rows: pa.Table, schema: pa.Schema, numbers: NDArray[np.int64]) -> pa.Table:
    if ROW in schema.names:
        rows = rows.append_column(ROW, pa.array(numbers, pa.int64()))
    for field in schema:
        if field.name not in rows.schema.names:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return rows.select(schema.names).cast(schema)


def _ends_before(file: pq.ParquetFile, group: int, first: str) -> bool:
    statistics = file.metadata.row_group(group).column(0).statistics
    return statistics is not None and statistics.has_min_max and statistics.max < first
