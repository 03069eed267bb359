"""Files that can only be read forward, kept open between blocks: compressed tars and Parquet.

A block's images follow each other in such a file, and so do the blocks that one decode actor
gets. So a cursor goes on from where it was, and begins anew only where a block lies before it.
Used by one thread.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ImageError, Reason
from pipeline.records import ImageRecord, ParquetRow, TarMember
from pipeline.sources.tar_entries import DAMAGE, ForwardStream, damaged
from pipeline.storage.base import Store, too_large

__all__ = ["Cursors"]

_MOST_OPEN = 4
_ROWS = 16
# Pages are read as they are needed; without this, Arrow reads whole row groups, which of pictures
# may take gigabytes.
_BUFFER_BYTES = 2**20


class _Cursor(Protocol):
    def is_before(self, image: ImageRecord) -> bool: ...

    def read(self, image: ImageRecord, max_bytes: int) -> bytes: ...

    def close(self) -> None: ...


class Cursors:
    """The files that are open at present, the least used closed when there are too many."""

    def __init__(self) -> None:
        self._open: OrderedDict[object, _Cursor] = OrderedDict()

    def read(self, store: Store, image: ImageRecord, max_bytes: int) -> bytes:
        """The content of one image.

        Args:
            store: where its file lies.
            image: in a compressed tar or a Parquet file.
            max_bytes: content that is longer is refused.

        Raises:
            ImageError: it cannot be had, or is too long.
            StorageDeniedError: nothing can be had.
        """
        identity = _identity(image)
        cursor = self._open.pop(identity, None)
        try:
            if cursor is not None and not cursor.is_before(image):
                cursor.close()
                cursor = None
            if cursor is None:
                cursor = _begin(store, image)
            content = cursor.read(image, max_bytes)
        except DAMAGE as error:
            if cursor is not None:
                cursor.close()
            raise damaged(error, "the file around it is damaged") from error
        except ImageError as error:
            if cursor is not None and error.reason is Reason.TOO_LARGE:
                self._open[identity] = cursor
            elif cursor is not None:
                cursor.close()
            raise
        self._open[identity] = cursor
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        return content

    def close(self) -> None:
        """Closes all files."""
        while self._open:
            self._open.popitem()[1].close()

    def __del__(self) -> None:
        self.close()


def _identity(image: ImageRecord) -> object:
    return image.container, image.etag


def _begin(store: Store, image: ImageRecord) -> _Cursor:
    part = image.part
    if isinstance(part, ParquetRow):
        return _RowCursor(store, part, image.etag)
    assert isinstance(part, TarMember)
    assert part.compression is not None
    packed = store.open(part.file, image.etag)
    return _TarCursor(ForwardStream(packed, part.compression))


class _TarCursor:
    """In what a compressed tar unpacks to."""

    def __init__(self, stream: ForwardStream) -> None:
        self._stream = stream

    def is_before(self, image: ImageRecord) -> bool:
        assert isinstance(image.part, TarMember)
        return self._stream.tell() <= image.part.offset

    def read(self, image: ImageRecord, max_bytes: int) -> bytes:
        assert isinstance(image.part, TarMember)
        if image.size_bytes > max_bytes:
            raise too_large(image.size_bytes, max_bytes)
        self._stream.seek(image.part.offset)
        content = self._stream.read(image.size_bytes)
        if len(content) < image.size_bytes:
            raise ImageError(Reason.TRUNCATED, "the tar ends within it")
        return content

    def close(self) -> None:
        self._stream.close()


class _RowCursor:
    """In a column of one row group; the rows at hand are kept, since a block may want them all."""

    def __init__(self, store: Store, part: ParquetRow, etag: str | None) -> None:
        self._stream = store.open(part.file, etag)
        try:
            self._file = pq.ParquetFile(self._stream, buffer_size=_BUFFER_BYTES)
            self._batches: Iterator[Any] = self._file.iter_batches(
                _ROWS, row_groups=[part.row_group], columns=[part.column], use_threads=False
            )
        except BaseException:
            self._stream.close()
            raise
        self._first_row = 0
        self._values: Any = pa.array([], pa.binary())

    def is_before(self, image: ImageRecord) -> bool:
        assert isinstance(image.part, ParquetRow)
        return self._first_row <= image.part.row

    def read(self, image: ImageRecord, max_bytes: int) -> bytes:
        assert isinstance(image.part, ParquetRow)
        while image.part.row >= self._first_row + len(self._values):
            batch = next(self._batches, None)
            if batch is None:
                raise ImageError(Reason.TRUNCATED, "the Parquet file ends before it")
            self._first_row += len(self._values)
            values = batch.column(0)
            values = values.field(0) if pa.types.is_struct(values.type) else values
            is_coded = pa.types.is_dictionary(values.type)
            self._values = values.dictionary_decode() if is_coded else values
        value = self._values[image.part.row - self._first_row]
        content = value.as_buffer() if value.is_valid else None
        if content is None:
            raise ImageError(Reason.FETCH_FAILED, "the row holds no bytes")
        if content.size > max_bytes:
            raise too_large(content.size, max_bytes)
        return bytes(content.to_pybytes())

    def close(self) -> None:
        self._file.close()
        self._stream.close()
