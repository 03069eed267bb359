"""Open positions in files that can only be read forward: compressed tars and Parquet.

The images of a block follow each other in such a file, and so do the blocks of one decode actor. So
a cursor continues where it stopped, and starts over only for an image before its position.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ImageError, Reason
from pipeline.records import ImageRecord, ParquetRow, TarMember
from pipeline.sources.damage import DAMAGE_ERRORS, damaged
from pipeline.sources.parquet import PAGE_BY_PAGE
from pipeline.sources.parquet_pages import GuardedFile
from pipeline.sources.tar_entries import ForwardStream
from pipeline.sources.uri_list import absolute_uri
from pipeline.storage import Store
from pipeline.storage.base import too_large

__all__ = ["Cursors"]

_MAX_OPEN = 4


class Cursors:
    """The cursors of up to 4 files, the most recently used ones; not thread-safe."""

    def __init__(self) -> None:
        self._open: OrderedDict[object, _TarCursor | _RowCursor] = OrderedDict()

    def read(self, store: Store, image: ImageRecord, max_bytes: int) -> bytes | str:
        """The content of one image, or the URI that its row has instead.

        Args:
            store: that holds its file.
            image: in a compressed tar or a Parquet file.
            max_bytes: longer content is not read.

        Raises:
            ImageError: the content cannot be read, or is too long.
            StorageDeniedError: no file can be read.
        """
        identity = (image.container, image.etag)
        cursor = self._open.pop(identity, None)
        try:
            if cursor is not None and cursor.position > _position(image):
                cursor.close()
                cursor = None
            if cursor is None:
                cursor = _open(store, image, max_bytes)
            content = cursor.read(image, max_bytes)
        except (ImageError, *DAMAGE_ERRORS) as error:
            is_too_large = isinstance(error, ImageError) and error.reason is Reason.TOO_LARGE
            if is_too_large and cursor is not None:
                self._open[identity] = cursor
            elif cursor is not None:
                cursor.close()
            if isinstance(error, ImageError):
                raise
            raise damaged(error, "the file around it is damaged") from error
        self._open[identity] = cursor
        while len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)[1].close()
        return content

    def close(self) -> None:
        """Closes all files."""
        while self._open:
            self._open.popitem()[1].close()

    def __del__(self) -> None:
        self.close()


def _position(image: ImageRecord) -> int:
    """Where an image is in its file: bytes of the uncompressed tar, or rows of the row group."""
    part = image.part
    if isinstance(part, ParquetRow):
        return part.row
    assert isinstance(part, TarMember)
    return part.offset


def _open(store: Store, image: ImageRecord, max_bytes: int) -> "_TarCursor | _RowCursor":
    part = image.part
    if isinstance(part, ParquetRow):
        return _RowCursor(store, part, image.etag, max_bytes)
    assert isinstance(part, TarMember)
    assert part.compression is not None
    return _TarCursor(ForwardStream(store.open(part.file, image.etag), part.compression))


class _TarCursor:
    """A position in the uncompressed content of a tar."""

    def __init__(self, stream: ForwardStream) -> None:
        self._stream = stream
        self.close = stream.close

    @property
    def position(self) -> int:
        return self._stream.tell()

    def read(self, image: ImageRecord, max_bytes: int) -> bytes:
        if image.size_bytes > max_bytes:
            raise too_large(image.size_bytes, max_bytes)
        self._stream.seek(_position(image))
        content = self._stream.read(image.size_bytes)
        if len(content) < image.size_bytes:
            raise ImageError(Reason.TRUNCATED, "the tar ends within it")
        return content


class _RowCursor:
    """A position in the pictures of one row group, read row by row.

    One row may refer to a value of any length, and so may each of several equal rows.
    """

    def __init__(self, store: Store, part: ParquetRow, etag: str | None, max_bytes: int) -> None:
        self._uri = part.file
        self._stream = GuardedFile(store.open(part.file, etag), max_bytes)
        try:
            self._file = pq.ParquetFile(self._stream, **PAGE_BY_PAGE)
            group = self._file.metadata.row_group(part.row_group)
            wanted = [part.column, *([] if part.path is None else [part.path])]
            columns = [group.column(number) for number in range(group.num_columns)]
            self._stream.watch(column for column in columns if column.path_in_schema in wanted)
            self._batches: Iterator[Any] = self._file.iter_batches(
                1, row_groups=[part.row_group], columns=wanted, use_threads=False
            )
        except BaseException:
            self._stream.close()
            raise
        self.position = -1
        self._column: Any = None

    def read(self, image: ImageRecord, max_bytes: int) -> bytes | str:
        row = _position(image)
        while row > self.position:
            try:
                batch = next(self._batches, None)
            except DAMAGE_ERRORS:
                self._stream.check()
                raise
            if batch is None:
                self._stream.check()
                raise ImageError(Reason.TRUNCATED, "the Parquet file ends before it")
            self.position += 1
            self._column = batch.column(0)
        value = self._column[0]
        path = None
        if isinstance(value, pa.StructScalar):
            fields = dict(value.items()) if value.is_valid else {}
            value, path = fields.get("bytes"), fields.get("path")
        if isinstance(value, pa.DictionaryScalar):
            value = value.value
        content = value.as_buffer() if value is not None and value.is_valid else None
        if content is None:
            if path is not None and path.as_py():
                return absolute_uri(str(path), self._uri)
            raise ImageError(Reason.FETCH_FAILED, "the row holds no bytes")
        if content.size > max_bytes:
            raise too_large(content.size, max_bytes)
        return bytes(content.to_pybytes())

    def close(self) -> None:
        self._file.close()
        self._stream.close()
