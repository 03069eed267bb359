"""Parquet files with a column of pictures, or of their URIs.

Pictures: a column `image`, `img`, `bytes`, `content`, `jpg` or `png`, binary, or a struct with a
field `bytes` as Hugging Face writes it; rows without bytes are read from the URIs in its field
`path`.
URIs: a column `uri`, `url` or `path`; relative ones are relative to the Parquet file. Keys: a
column `key`, else FILE/row. A repeated key gets its file and row appended.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ImageError, PipelineError, Reason, UsageError
from pipeline.records import ImageRecord, ParquetRow, Unreadable
from pipeline.sources.base import Source
from pipeline.sources.damage import DAMAGE_ERRORS, unreadable_rest
from pipeline.sources.parquet_pages import GuardedFile
from pipeline.sources.parquet_values import MAX_VALUE_BYTES, is_binary, is_text, without_long_values
from pipeline.sources.passthrough_columns import KeptColumns
from pipeline.sources.read_ahead import concatenate
from pipeline.sources.uri_list import absolute_uri
from pipeline.storage import Stores

__all__ = ["PAGE_BY_PAGE", "ParquetSource"]

PAGE_BY_PAGE: dict[str, Any] = {"buffer_size": 2**20, "pre_buffer": False}
"""Makes Arrow read page by page. It would read whole row groups, gigabytes of pictures."""

_PICTURE_COLUMNS = ("image", "img", "bytes", "content", "jpg", "png")
_URI_COLUMNS = ("uri", "url", "path")
_ROWS = 1024
_DELTA_ROWS = 16  # each may be as long as a page
_MAX_PAGE_BYTES = _ROWS * MAX_VALUE_BYTES
_FILES_AHEAD = 3


class ParquetSource(Source):
    """The pictures that the rows of some Parquet files hold or name.

    Args:
        files: the Parquet files.
        stores: that hold them.
        keep: columns that are passed through.

    Attributes:
        schema: of the first file; empty if there is none.

    Raises:
        UsageError: the first file has no column of pictures, or lacks one of `keep`.
    """

    def __init__(self, files: Source, stores: Stores, keep: tuple[str, ...] = ()) -> None:
        self._files = files
        self._stores = stores
        self._keep = KeptColumns(keep)
        self.schema = pa.schema([])
        first = next(files.list_images(), None)
        if first is not None:
            self.schema = self._schema_of(first)
            _layout(self.schema, first.uri)
            self.kept = self._keep.schema(self.schema, first.uri)

    def _schema_of(self, file: ImageRecord) -> pa.Schema:
        try:
            with self._open(file) as parquet:
                return parquet.schema_arrow
        except ImageError as error:
            raise UsageError(f"input: cannot read {file.uri}: {error.detail}") from error
        except DAMAGE_ERRORS as error:
            text = " ".join(str(error).split())
            raise UsageError(f"input: {file.uri} is no readable Parquet file: {text}") from error

    def list_images(self) -> Iterator[ImageRecord]:
        """See `Source.list_images`; file by file, row by row, without reading pictures."""
        return concatenate(map(self._rows, self._files.list_images()), _FILES_AHEAD)

    def _rows(self, file: ImageRecord) -> Iterator[ImageRecord]:
        """One image a row, and one for the damage, if any."""
        number = 0
        try:
            with self._open_for_listing(file) as (guarded, parquet):
                layout = _layout(parquet.schema_arrow, file.uri)
                kept = self._keep.present_in(parquet.schema_arrow)
                for group in range(parquet.num_row_groups):
                    first = number
                    in_group = layout.in_row_group(parquet.metadata.row_group(group))
                    columns = [*in_group.small, *kept]
                    for row, long_column in self._small_columns(parquet, guarded, group, columns):
                        place = (group, number - first)
                        image = in_group.image(file, place, number, row, self._keep.values(row))
                        yield _too_long(image, file, long_column) if long_column else image
                        number += 1
        except (PipelineError, *DAMAGE_ERRORS) as error:
            rest = unreadable_rest(error, file, f"row {number}")
            nothing = self._keep.values({})
            yield ImageRecord(f"{file.key}/", file.uri, 0, file.etag, rest, nothing)

    def _small_columns(
        self, parquet: Any, guarded: GuardedFile, group: int, columns: list[str]
    ) -> Iterator[tuple[dict[str, Any], str | None]]:
        """The rows of a row group without their pictures, and the column that is too long."""
        metadata = parquet.metadata.row_group(group)
        if not columns:  # Arrow returns no batches without columns
            yield from (({}, None) for _ in range(metadata.num_rows))
            return
        guarded.watch(_chunks(metadata, columns))
        try:
            num_rows = _DELTA_ROWS if _has_delta(_chunks(metadata, columns)) else _ROWS
            for batch in parquet.iter_batches(num_rows, row_groups=[group], columns=columns):
                bounded, long_columns = without_long_values(batch)
                rows = self._keep.cast(bounded).to_pylist()
                yield from ((row, long_columns.get(number)) for number, row in enumerate(rows))
        except DAMAGE_ERRORS:
            guarded.check()
            raise
        guarded.check()

    @contextmanager
    def _open(self, file: ImageRecord) -> Iterator[Any]:
        with (
            self._stores.of(file.uri).open(file.uri, file.etag) as stream,
            pq.ParquetFile(stream, **PAGE_BY_PAGE) as parquet,
        ):
            yield parquet

    @contextmanager
    def _open_for_listing(self, file: ImageRecord) -> Iterator[tuple[GuardedFile, Any]]:
        """Text and bytes come dictionary-coded where Arrow can; repeated ones take no memory."""
        opened = self._stores.of(file.uri).open(file.uri, file.etag)
        with GuardedFile(opened, _MAX_PAGE_BYTES) as stream:
            metadata = pq.read_metadata(stream)
            first = metadata.row_group(0) if metadata.num_row_groups else None
            leaves = [] if first is None else map(first.column, range(first.num_columns))
            coded = [
                leaf.path_in_schema
                for leaf in leaves
                if leaf.physical_type == "BYTE_ARRAY" and not _has_delta([leaf])
            ]
            stream.seek(0)
            with pq.ParquetFile(
                stream, metadata=metadata, read_dictionary=coded, **PAGE_BY_PAGE
            ) as parquet:
                yield stream, parquet


def _chunks(group: Any, columns: list[str]) -> Iterator[Any]:
    """Metadata of some columns of a row group; of structs, that of all their fields."""
    for number in range(group.num_columns):
        chunk = group.column(number)
        path = chunk.path_in_schema
        if any(path == name or path.startswith(f"{name}.") for name in columns):
            yield chunk


def _has_delta(chunks: Iterable[Any]) -> bool:
    """Whether values may share bytes with the one before, which Arrow cannot keep as they are."""
    return any(name.startswith("DELTA_") for chunk in chunks for name in chunk.encodings)


def _too_long(image: ImageRecord, file: ImageRecord, column: str) -> ImageRecord:
    detail = f"column {column} holds more than {MAX_VALUE_BYTES} bytes"
    return replace(image, part=Unreadable(file.uri, Reason.TOO_LARGE, detail))


@dataclass(frozen=True, slots=True)
class _Layout:
    """Names of a file's columns; "image.bytes" is a field of a struct.

    Attributes:
        content: of the bytes; None if `uri` is used.
        uri: None if `content` is used.
        key: None if the file has no keys.
        path: used as `uri` in rows without `content`; None if there is none.
    """

    content: str | None
    uri: str | None
    key: str | None
    path: str | None = None

    def in_row_group(self, group: Any) -> "_Layout":
        """The layout of one row group, by its statistics.

        Args:
            group: metadata of the row group.
        """
        if self.path is None:
            return self
        columns = [group.column(number) for number in range(group.num_columns)]
        (content,) = (column for column in columns if column.path_in_schema == self.content)
        statistics = content.statistics
        is_empty = statistics is not None and statistics.null_count == group.num_rows
        return _Layout(None, self.path, self.key) if is_empty else self

    @property
    def small(self) -> list[str]:
        """Columns that the listing reads."""
        return [name for name in (self.uri, self.key) if name is not None]

    def image(
        self,
        file: ImageRecord,
        place: tuple[int, int],
        number: int,
        row: dict[str, Any],
        kept: tuple[Any, ...],
    ) -> ImageRecord:
        """The image of one row.

        Args:
            file: the Parquet file.
            place: row group, and row in it.
            number: of the row in the file.
            row: values of `small`.
            kept: values of the columns that are passed through.
        """
        given = None if self.key is None else row[self.key]
        key = f"{file.key}/{number}"
        others: tuple[str, ...] = ()
        if given not in (None, ""):
            key, others = str(given), (f"{given}~{key}",)
        part: ParquetRow | Unreadable
        if self.content is not None:
            part = ParquetRow(file.uri, self.content, *place, path=self.path)
        else:
            assert self.uri is not None
            uri = row[self.uri.partition(".")[0]]
            if uri is not None:
                uri = absolute_uri(str(uri), file.uri)
                return ImageRecord(key, uri, 0, kept=kept, other_keys=others)
            part = Unreadable(file.uri, Reason.FETCH_FAILED, "the row names no URI")
        return ImageRecord(key, f"{file.uri}#{number}", 0, file.etag, part, kept, others)


def _layout(schema: pa.Schema, uri: str) -> _Layout:
    """Finds the columns of a file.

    Raises:
        UsageError: there is no column of pictures or URIs.
    """
    key = "key" if "key" in schema.names else None
    for name in _PICTURE_COLUMNS:
        if name in schema.names and (content := _content(schema.field(name))) is not None:
            return _Layout(content, None, key, _path(schema.field(name)))
    for name in _URI_COLUMNS:
        if name in schema.names and is_text(schema.field(name).type):
            return _Layout(None, name, key)
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise UsageError(
        f"input: {uri} must have a column of bytes called {', '.join(_PICTURE_COLUMNS)}, or one of "
        f"URIs called {', '.join(_URI_COLUMNS)} (got {columns})"
    )


def _content(field: pa.Field) -> str | None:
    """Path of the column of bytes, if the field holds bytes."""
    if pa.types.is_struct(field.type):
        position = field.type.get_field_index("bytes")
        is_bytes = position >= 0 and is_binary(field.type.field(position).type)
        return f"{field.name}.bytes" if is_bytes else None
    return str(field.name) if is_binary(field.type) else None


def _path(field: pa.Field) -> str | None:
    """Path of the column of paths beside the bytes, if the field is a struct with one."""
    if not pa.types.is_struct(field.type):
        return None
    position = field.type.get_field_index("path")
    is_path = position >= 0 and is_text(field.type.field(position).type)
    return f"{field.name}.path" if is_path else None
