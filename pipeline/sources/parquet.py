"""Parquet files with a column of pictures, or of their URIs; a row group is read at a time.

Bytes: a column `image`, `img`, `bytes`, `content`, `jpg` or `png`, binary, or a struct with a field
`bytes` as Hugging Face writes it. URIs: a column `uri`, `url` or `path`, of files that are read
instead; a relative one is relative to the Parquet file. Keys: `key` where there is such a column,
else FILE/row. A key that was there before gets its file and row added.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ImageError, Reason, StorageDeniedError, StorageFailedError, UsageError
from pipeline.records import ImageRecord, ParquetRow, Unreadable
from pipeline.sources.base import NOTHING_KEPT, Source
from pipeline.sources.names import SeenKeys
from pipeline.sources.passthrough_columns import KeptColumns
from pipeline.sources.patterns import KeyFilter
from pipeline.sources.prefetch import in_pages, pages_in_order
from pipeline.sources.tar_entries import DAMAGE, damaged
from pipeline.sources.uris import absolute_uri
from pipeline.storage import Stores

__all__ = ["ParquetSource"]

logger = logging.getLogger(__name__)

_BYTES = ("image", "img", "bytes", "content", "jpg", "png")
_URIS = ("uri", "url", "path")
_ROWS = 1024
_NUM_AHEAD = 3
_BUFFER_BYTES = 2**20


class ParquetSource:
    """The pictures that the rows of some Parquet files hold or name.

    Args:
        files: the Parquet files.
        stores: that hold them.
        patterns: which pictures, by the key.
        keep: names of the columns that are passed through.

    Raises:
        UsageError: the first file has no column of pictures, or lacks one that is to be kept.
    """

    def __init__(
        self, files: Source, stores: Stores, patterns: KeyFilter, keep: tuple[str, ...] = ()
    ) -> None:
        self.kept = NOTHING_KEPT
        self._files = files
        self._stores = stores
        self._patterns = patterns
        self._keep = KeptColumns(keep)
        first = next(files.list_images(), None)
        if first is not None:
            self._look_into(first)

    def _look_into(self, first: ImageRecord) -> None:
        try:
            with self._opened(first) as file:
                schema = file.schema_arrow
        except ImageError as error:
            raise UsageError(f"input: cannot read {first.uri}: {error.detail}") from error
        except DAMAGE as error:
            text = " ".join(str(error).split())
            raise UsageError(f"input: {first.uri} is no readable Parquet file: {text}") from error
        _layout(schema, first.uri)
        self.kept = self._keep.schema(schema, first.uri)

    def list_images(self) -> Iterator[ImageRecord]:
        """All images, file by file, row by row; only what stands beside the pictures is read."""
        seen = SeenKeys()
        pages = (partial(in_pages, self._rows(file), _ROWS) for file in self._files.list_images())
        for page in pages_in_order(pages, _NUM_AHEAD):
            for name, image in page:
                if name is not None:  # tells rows apart that have one key
                    key = seen.first_new([image.key, f"{image.key}~{name}"])
                    image = replace(image, key=key)
                if self._patterns.takes(image.key):
                    yield image

    def count_images(self) -> int | None:
        """From the files' footers, unless patterns decide or a file cannot be read."""
        if self._patterns != KeyFilter():
            return None
        total = 0
        try:
            for record in self._files.list_images():
                with self._opened(record) as file:
                    total += file.metadata.num_rows
        except (ImageError, StorageFailedError, *DAMAGE):
            return None
        return total

    def _rows(self, file: ImageRecord) -> Iterator[tuple[str | None, ImageRecord]]:
        """The rows of a file, and the damage, if any; where keys are given, with FILE/row too."""
        number = 0
        try:
            with self._opened(file) as parquet:
                layout = _layout(parquet.schema_arrow, file.uri)
                kept = self._keep.present_in(parquet.schema_arrow)
                for group in range(parquet.num_row_groups):
                    start = number
                    for row in self._small_columns(parquet, group, [*layout.small, *kept]):
                        values = self._keep.values(row)
                        image = self._image(file, layout, group, number - start, number, row)
                        name = None if layout.key is None else f"{file.key}/{number}"
                        yield name, replace(image, kept=values)
                        number += 1
            return
        except (StorageDeniedError, StorageFailedError):
            raise
        except UsageError as error:
            failure = damaged(error, "the file cannot be used")
        except ImageError as error:
            failure = ImageError(error.reason, f"the file cannot be read: {error.detail}")
        except DAMAGE as error:
            failure = damaged(error, f"the file cannot be read on behind row {number}")
        logger.warning("%s: %s", file.uri, failure.detail)
        part = Unreadable(file.uri, failure.reason, failure.detail)
        values = self._keep.values({})
        yield None, ImageRecord(f"{file.key}/", file.uri, 0, file.etag, part, values)

    def _small_columns(
        self, parquet: Any, group: int, names: list[str]
    ) -> Iterator[dict[str, Any]]:
        """The rows of a row group without their pictures."""
        if not names:  # Arrow gives no batches without columns
            yield from ({} for _ in range(parquet.metadata.row_group(group).num_rows))
            return
        for batch in parquet.iter_batches(_ROWS, row_groups=[group], columns=names):
            yield from self._keep.cast(batch).to_pylist()

    def _image(
        self,
        file: ImageRecord,
        layout: "_Layout",
        group: int,
        row_in_group: int,
        number: int,
        row: dict[str, Any],
    ) -> ImageRecord:
        given = None if layout.key is None else row[layout.key]
        key = f"{file.key}/{number}" if given in (None, "") else str(given)
        if layout.uri is not None:
            uri = row[layout.uri]
            if uri is not None:
                return ImageRecord(key, absolute_uri(str(uri), file.uri), 0)
            part = Unreadable(file.uri, Reason.FETCH_FAILED, "the row names no URI")
            return ImageRecord(key, f"{file.uri}#{number}", 0, file.etag, part)
        assert layout.content is not None
        place = ParquetRow(file.uri, layout.content, group, row_in_group)
        return ImageRecord(key, f"{file.uri}#{number}", 0, file.etag, place)

    @contextmanager
    def _opened(self, file: ImageRecord) -> Iterator[Any]:
        with (
            self._stores.of(file.uri).open(file.uri, file.etag) as stream,
            pq.ParquetFile(stream, buffer_size=_BUFFER_BYTES) as parquet,
        ):
            yield parquet


@dataclass(frozen=True, slots=True)
class _Layout:
    """Names of the columns; either `content` or `uri` is there."""

    content: str | None
    uri: str | None
    key: str | None

    @property
    def small(self) -> list[str]:
        """Columns to list rows by."""
        return [name for name in (self.uri, self.key) if name is not None]


def _layout(schema: pa.Schema, uri: str) -> _Layout:
    """Which columns a file has.

    Raises:
        UsageError: none of pictures or their URIs.
    """
    key = "key" if "key" in schema.names else None
    for name in _BYTES:
        if name in schema.names and (content := _content(schema.field(name))) is not None:
            return _Layout(content, None, key)
    for name in _URIS:
        if name in schema.names and _is_text(schema.field(name).type):
            return _Layout(None, name, key)
    columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
    raise UsageError(
        f"input: {uri} must have a column of bytes called {', '.join(_BYTES)}, or one of URIs "
        f"called {', '.join(_URIS)} (got {columns})"
    )


def _content(field: pa.Field) -> str | None:
    """The column's path if it holds bytes."""
    if pa.types.is_struct(field.type):
        position = field.type.get_field_index("bytes")
        is_bytes = position >= 0 and _is_binary(field.type.field(position).type)
        return f"{field.name}.bytes" if is_bytes else None
    return str(field.name) if _is_binary(field.type) else None


def _is_binary(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
