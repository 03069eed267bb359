"""Source columns that are passed through to the tags (`--keep-columns`)."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.records import TAGS_SCHEMA
from pipeline.sources.base import NOTHING_KEPT
from pipeline.sources.parquet_values import is_binary, is_text

__all__ = ["KeptColumns"]


class KeptColumns:
    """Some columns of a source; one that the tags have themselves is called `input_NAME` there.

    Args:
        names: in the source, in the order of the tags.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def schema(self, source: pa.Schema, location: str) -> pa.Schema:
        """Names and types in the tags.

        Args:
            source: schema of the first file.
            location: of that file, for the message.

        Raises:
            UsageError: a column is missing, or has a type that the tags cannot hold.
        """
        fields = []
        for name in self._names:
            if name not in source.names:
                raise UsageError(
                    f"keep-columns: {location} has no column {name!r}; allowed are "
                    f"{', '.join(source.names)}"
                )
            kind = _kept_type(source.field(name).type)
            if kind is None:
                raise UsageError(
                    f"keep-columns: {name!r} is {source.field(name).type}; allowed are numbers, "
                    "text, bytes, true/false, dates and times"
                )
            fields.append(pa.field(f"input_{name}" if name in TAGS_SCHEMA.names else name, kind))
        return pa.schema(fields) if fields else NOTHING_KEPT

    def present_in(self, source: pa.Schema) -> list[str]:
        """The columns that a file has; values of the others are null."""
        return [name for name in self._names if name in source.names]

    def cast(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The same rows with these columns in the types of the tags."""
        for name in self.present_in(batch.schema):
            position = batch.schema.get_field_index(name)
            column = batch.column(position)
            kind = _kept_type(column.type) or column.type
            batch = batch.set_column(position, name, column.cast(kind, safe=False))
        return batch

    def values(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values of one row, in order."""
        return tuple(row.get(name) for name in self._names)


def _kept_type(kind: pa.DataType) -> pa.DataType | None:
    """The type in the tags: Delta tables have no unsigned, large or dictionary types."""
    if pa.types.is_dictionary(kind):
        return _kept_type(kind.value_type)
    if is_text(kind):
        return pa.string()
    if is_binary(kind):
        return pa.binary()
    if pa.types.is_unsigned_integer(kind):
        return {8: pa.int16(), 16: pa.int32(), 32: pa.int64()}.get(kind.bit_width)
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz and "UTC")
    is_kept = (
        pa.types.is_signed_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_date32(kind)
    )
    return kind if is_kept else None
