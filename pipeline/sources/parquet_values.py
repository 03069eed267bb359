"""Values of Parquet columns: their types, and bounds on their memory.

A file of a few hundred bytes can stand for gigabytes: by compression, and by repetition, since
repeated values are stored once.
"""

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["MAX_VALUE_BYTES", "is_binary", "is_text", "without_long_values"]

MAX_VALUE_BYTES = 2**16
"""Longest key, URI, and text or bytes of a column that is passed through."""


def is_binary(kind: pa.DataType) -> bool:
    """Whether values are bytes."""
    if pa.types.is_dictionary(kind):
        return is_binary(kind.value_type)
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def is_text(kind: pa.DataType) -> bool:
    """Whether values are text."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def without_long_values(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, str]]:
    """Replaces values that are too long by null.

    Args:
        batch: repeated values are dictionary-coded; structs have one field, which replaces them.

    Returns:
        The batch, and for each row with a long value the name of its column.
    """
    long_columns: dict[int, str] = {}
    for position, name in enumerate(batch.schema.names):
        column = batch.column(position)
        if pa.types.is_struct(column.type):
            column = column.flatten()[0]
        if is_text(column.type) or is_binary(column.type):
            column = column.dictionary_encode()
        if pa.types.is_dictionary(column.type) and len(column.dictionary):
            is_long = pc.greater(pc.binary_length(column.dictionary), MAX_VALUE_BYTES)
            if pc.any(is_long).as_py():
                rows = pc.take(is_long, column.indices)
                long_columns.update((row, name) for row in pc.indices_nonzero(rows).to_pylist())
                short = pc.if_else(is_long, None, column.dictionary)
                # Rebuilt, because Arrow keeps the memory of replaced values, and multiplies it.
                values = pa.array(short.to_pylist(), short.type)
                column = pa.DictionaryArray.from_arrays(column.indices, values)
        batch = batch.set_column(position, name, column)
    return batch, long_columns
