"""Groups of near-duplicates in an index, with the best copy of each; deletes nothing.

Memory holds about 70 bytes an image; the vectors lie in a temporary file.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dvt.validation import FrozenModel
from jobs.index.lance_table import index_failures
from jobs.index.vectors import as_matrix
from jobs.search.engine import ImageIndex
from jobs.search.near_pairs import components, near_pairs
from pipeline.errors import OutputFailedError, UsageError

__all__ = ["DUPLICATES_SCHEMA", "DuplicatesReport", "find_duplicates"]

DUPLICATES_SCHEMA = pa.schema(
    [
        ("group", pa.int64()),
        ("best", pa.bool_()),
        ("key", pa.string()),
        ("uri", pa.string()),
        ("similarity", pa.float32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("size_bytes", pa.int64()),
        ("label", pa.string()),
    ]
)
"""Rows of a group follow each other, the best copy first; `similarity` is that to the best."""

_BATCH_ROWS = 16_384
_FETCHED_ROWS = 20_000
_COLUMNS = ["key", "uri", "width", "height", "size_bytes", "label"]


class DuplicatesReport(FrozenModel):
    """The JSON line of `dvt duplicates`."""

    index: str
    table: str
    images: int
    groups: int
    duplicates: int
    min_similarity: float


class _Writer(Protocol):
    def write_table(self, table: pa.Table) -> None: ...


def find_duplicates(
    index: ImageIndex,
    file: Path,
    min_similarity: float,
    listener: Callable[[int, int | None, float], None] = lambda *_: None,
) -> DuplicatesReport:
    """Writes a table of near-duplicates, replacing an earlier one in one step.

    Args:
        index: to search.
        file: of the table; its name ends with .parquet or .csv.
        min_similarity: cosine similarity of two near-duplicates. Groups are chains of such pairs.
        listener: receives images read and images in the index; see `jobs.progress.rows_line`.

    Raises:
        UsageError: the index has no vectors, or the file has another ending.
        OutputFailedError: the index cannot be read, or the file cannot be written.
    """
    column = index.column("embedding")
    if file.suffix not in (".parquet", ".csv"):
        raise UsageError(f"to: must end with .parquet or .csv (got {file})")
    with tempfile.TemporaryDirectory(prefix="dvt-duplicates-") as folder:
        with index_failures(index.store.uri):
            vectors, row_ids = _read(index, column, Path(folder), listener)
            roots = components(len(vectors), near_pairs(vectors, min_similarity))
        groups = _groups(roots)
        with _writer(file) as writer, index_failures(index.store.uri):
            for number, some in _chunks(groups):
                writer.write_table(_rows(index, number, some, vectors, row_ids))
    return DuplicatesReport(
        index=index.store.uri,
        table=str(file),
        images=len(vectors),
        groups=len(groups),
        duplicates=sum(len(group) - 1 for group in groups),
        min_similarity=min_similarity,
    )


def _read(
    index: ImageIndex,
    column: str,
    folder: Path,
    listener: Callable[[int, int | None, float], None],
) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Vectors and row ids of all images that have a vector, as of one version."""
    started = time.monotonic()
    table = index.table
    num_rows = table.count_rows()
    width = index.state.spaces["embedding"].width
    vectors = np.lib.format.open_memmap(
        folder / "vectors.npy", "w+", dtype=np.float16, shape=(max(1, num_rows), width)
    )
    row_ids = np.empty(num_rows, dtype=np.int64)
    position = num_read = 0
    query: Any = table.search()
    query = query.select([column]).with_row_id(True).limit(num_rows)
    for batch in query.to_batches(_BATCH_ROWS):
        rows = pa.Table.from_batches([batch])
        matrix, is_there = as_matrix(rows[column])
        end = position + len(matrix)
        if len(matrix):
            vectors[position:end] = matrix
            row_ids[position:end] = rows["_rowid"].to_numpy()[is_there]
        position, num_read = end, num_read + rows.num_rows
        listener(num_read, num_rows, time.monotonic() - started)
    return vectors[:position], row_ids[:position]


def _groups(roots: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows with the same root, where there are several."""
    order = np.argsort(roots, kind="stable")
    starts = np.flatnonzero(np.diff(roots[order], prepend=-1))
    lengths = np.diff(starts, append=len(order))
    several = lengths > 1
    bounds = zip(starts[several], lengths[several], strict=True)
    return [order[start : start + length] for start, length in bounds]


def _chunks(groups: list[NDArray[np.int64]]) -> Iterator[tuple[int, list[NDArray[np.int64]]]]:
    """Groups to be fetched together, with the number of the first."""
    start = num_rows = 0
    for number, group in enumerate(groups):
        if num_rows and num_rows + len(group) > _FETCHED_ROWS:
            yield start, groups[start:number]
            start, num_rows = number, 0
        num_rows += len(group)
    if groups:
        yield start, groups[start:]


def _rows(
    index: ImageIndex,
    first: int,
    groups: list[NDArray[np.int64]],
    vectors: NDArray[np.float16],
    row_ids: NDArray[np.int64],
) -> pa.Table:
    wanted = np.concatenate(groups)
    query: Any = index.table.take_row_ids(row_ids[wanted].tolist())
    fetched = query.select(_COLUMNS).with_row_id().to_arrow().to_pylist()
    found = {row["_rowid"]: row for row in fetched}
    rows = []
    for number, group in enumerate(groups, start=first):
        copies = [(found[row_ids[position]], position) for position in group]
        copies.sort(key=lambda copy: _rank(copy[0]))
        best = vectors[copies[0][1]].astype(np.float32)
        for place, (row, position) in enumerate(copies):
            similarity = float(best @ vectors[position].astype(np.float32))
            rows.append(
                {name: row[name] for name in _COLUMNS}
                | {"group": number, "best": place == 0, "similarity": similarity}
            )
    return pa.Table.from_pylist(rows, schema=DUPLICATES_SCHEMA)


def _rank(row: dict[str, Any]) -> tuple[int, int, str]:
    """The best copy has the largest area, then the most bytes, then the least key."""
    area = (row["width"] or 0) * (row["height"] or 0)
    return -area, -(row["size_bytes"] or 0), row["key"]


@contextmanager
def _writer(file: Path) -> Iterator[_Writer]:
    partial = file.with_name(f".{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with (
            pa_csv.CSVWriter(partial, DUPLICATES_SCHEMA)
            if file.suffix == ".csv"
            else pq.ParquetWriter(partial, DUPLICATES_SCHEMA, compression="zstd")
        ) as writer:
            yield writer
        partial.replace(file)
    except OSError as error:
        raise OutputFailedError(f"to: cannot write {file}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
