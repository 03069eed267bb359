"""Vectors computed elsewhere, read from files with the keys of their images.

NAME=FILES      FILES is a file, or a quoted glob in one folder
a.parquet       a column `key`, and one column of lists of floats
a.npy           [rows, width]; the keys lie in `a.txt`, one a line, or in the column `key` of
`a.parquet`
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.index.vectors import as_matrix, as_vectors, is_vector
from pipeline.errors import UsageError

__all__ = ["JoinedVectors"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_BATCH_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class JoinedVectors:
    """Files with the vectors of one space.

    Attributes:
        name: of the space.
        files: in order.
        width: of the vectors.
    """

    name: str
    files: tuple[Path, ...]
    width: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `NAME=FILES`.

        Raises:
            UsageError: the text is none, no file matches, or the first file has no vectors.
        """
        name, equals, pattern = text.partition("=")
        if not equals or not _NAME.fullmatch(name) or name == "embedding":
            raise UsageError(
                "vectors: must be NAME=FILES, where NAME is a lower-case word other than "
                f"embedding (got {text!r})"
            )
        path = Path(pattern)
        files = [path] if path.is_file() else sorted(path.parent.glob(path.name))
        arrays = [file for file in files if file.suffix == ".npy"]
        files = arrays or [file for file in files if file.suffix == ".parquet"]
        if not files:
            raise UsageError(f"vectors: no .npy or .parquet file matches {pattern!r}")
        for batch in _batches(files[0]):
            matrix, _ = as_matrix(batch["vector"])
            if len(matrix):
                return cls(name, tuple(files), matrix.shape[1])
        raise UsageError(f"vectors: {files[0]} has no vectors")

    def batches(self, column: str) -> Iterator[pa.Table]:
        """Keys and vectors, some thousand rows at a time; rows without a direction are left out.

        Args:
            column: name of the vectors' column.

        Raises:
            UsageError: a file is damaged, or has vectors of another width.
        """
        for file in self.files:
            for batch in _batches(file):
                vectors = as_vectors(batch["vector"], self.width)
                rows = pa.table({"key": batch["key"].cast(pa.string()), column: vectors})
                yield rows.filter(vectors.is_valid())


def _batches(file: Path) -> Iterator[pa.Table]:
    """Rows of a file, with the columns `key` and `vector`."""
    try:
        yield from _of_array(file) if file.suffix == ".npy" else _of_parquet(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        line = " ".join(str(error).split())[:200]
        raise UsageError(f"vectors: cannot read {file}: {line}") from error


def _of_parquet(file: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(file) as table:
        schema = table.schema_arrow
        names = [field.name for field in schema if is_vector(field.type) and field.name != "key"]
        if "key" not in schema.names or len(names) != 1:
            raise ValueError("needs a column key and one column of vectors")
        for batch in table.iter_batches(_BATCH_ROWS, columns=["key", *names]):
            yield pa.table({"key": batch["key"], "vector": batch[names[0]]})


def _of_array(file: Path) -> Iterator[pa.Table]:
    array = np.load(file, mmap_mode="r", allow_pickle=False)
    if array.ndim != 2 or array.dtype.kind != "f":
        raise ValueError(f"needs an array [rows, width] of floats, has {array.dtype} {array.shape}")
    keys = _keys(file)
    start = 0
    while start < len(array):
        some = list(islice(keys, _BATCH_ROWS))
        part = np.asarray(array[start : start + len(some)], dtype=np.float32)
        if not some or len(part) < len(some):
            break
        values = pa.array(part.ravel())
        vectors = pa.FixedSizeListArray.from_arrays(values, array.shape[1])
        yield pa.table({"key": pa.array(some, pa.string()), "vector": vectors})
        start += len(some)
    if start < len(array) or next(keys, None) is not None:
        raise ValueError(f"has {len(array):,} rows, but another number of keys beside it")


def _keys(file: Path) -> Iterator[str]:
    text, table = file.with_suffix(".txt"), file.with_suffix(".parquet")
    if text.is_file():
        with text.open(encoding="utf-8", newline="\n") as lines:
            yield from (line.removesuffix("\n") for line in lines)
    elif table.is_file():
        with pq.ParquetFile(table) as keys:
            for batch in keys.iter_batches(_BATCH_ROWS, columns=["key"]):
                yield from batch["key"].to_pylist()
    else:
        raise ValueError(f"needs its keys in {text.name} or {table.name}")
