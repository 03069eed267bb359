"""The embeddings in `tags`: their column, their model, and their form in an index.

A Delta table has neither half floats nor lists of fixed length, so any list of floats is taken, and
bytes as little-endian half floats. The field's metadata names the model by its digest.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.records import EMBEDDING_MODEL

__all__ = ["EMBEDDING", "MODEL_KEY", "as_matrix", "as_vectors", "is_vector", "model_of"]

EMBEDDING = "embedding"
"""Column of `tags`."""

MODEL_KEY = EMBEDDING_MODEL
"""Metadata of that field: digest of the model."""


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold vectors."""
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return True
    is_list = _is_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and bool(pa.types.is_floating(kind.value_type))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def model_of(field: pa.Field) -> str | None:
    """Digest of the model that computed the vectors; None if the field does not name it."""
    digest = (field.metadata or {}).get(MODEL_KEY)
    return None if digest is None else digest.decode()


def as_matrix(column: pa.ChunkedArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Vectors as a matrix.

    Args:
        column: N vectors; nulls are allowed.

    Returns:
        The vectors that are not null, normalised, [M, D]; and which rows they belong to, [N].
        Vectors without a direction (zero, NaN) count as null.

    Raises:
        UsageError: they differ in width.
    """
    array = column.combine_chunks()
    is_there = np.asarray(array.is_valid())
    present = array.drop_null()
    if pa.types.is_binary(present.type) or pa.types.is_fixed_size_binary(present.type):
        content = b"".join(present.to_pylist())
        values = np.frombuffer(content, dtype="<f2").astype(np.float32)
    else:
        values = present.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    num_rows = len(present)
    width, rest = divmod(len(values), num_rows) if num_rows else (0, 0)
    if rest or (_is_list(present.type) and len(set(present.value_lengths().to_pylist())) > 1):
        raise UsageError(f"vectors: all of {column.type} must have one width")
    matrix = values.reshape(num_rows, width)
    norms = np.linalg.norm(matrix, axis=1)
    has_direction = np.isfinite(norms) & (norms > 0)
    is_there[is_there] = has_direction
    matrix = matrix[has_direction] / norms[has_direction, None]
    return matrix, is_there


def as_vectors(column: pa.ChunkedArray, width: int) -> pa.Array:
    """Vectors as a fixed-size list of half floats, normalised.

    Raises:
        UsageError: a vector has another width.
    """
    matrix, is_there = as_matrix(column)
    if len(matrix) and matrix.shape[1] != width:
        raise UsageError(f"vectors: expected {width} numbers a vector, got {matrix.shape[1]}")
    values = np.zeros((len(is_there), width), dtype=np.float16)
    if len(matrix):
        values[is_there] = matrix
    return pa.FixedSizeListArray.from_arrays(
        pa.array(values.ravel(), pa.float16()), width, mask=pa.array(~is_there)
    )
