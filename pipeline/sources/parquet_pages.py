"""Bounds on the pages of Parquet files, whatever the files declare elsewhere.

Arrow reads a page whole, and allocates what the page's header declares. Both may be gigabytes: the
size of a page is bounded by 2 GiB alone. The headers are checked on their way to Arrow.
Source: the Parquet format (`PageHeader` in parquet.thrift) and the compact protocol of Thrift.
"""

import io
from collections.abc import Iterable
from typing import Any, BinaryIO

from pipeline.errors import ImageError, Reason

__all__ = ["GuardedFile"]

_MAX_RATIO = 20  # pictures do not compress
_MAX_PAGES = 4  # of `max_bytes`: many pictures may be in one page
_MAX_HEADER_BYTES = 2**20
_MAX_DEPTH = 8
_UNCOMPRESSED, _COMPRESSED = 2, 3  # fields of a page header


class GuardedFile(io.RawIOBase):
    """A Parquet file whose pages are checked while they are read in order.

    A page may have `max_bytes`, and up to four times that if it is not compressed far. Before a
    larger one, its column ends.

    Args:
        stream: the file; closed with this object.
        max_bytes: longest value that is wanted.
    """

    def __init__(self, stream: BinaryIO, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._chunks: list[_Chunk] = []

    def watch(self, columns: Iterable[Any]) -> None:
        """Checks these columns of one row group from here on.

        Args:
            columns: their metadata.
        """
        self._chunks = [_Chunk(column, self._max_bytes) for column in columns]

    def check(self) -> None:
        """Raises `ImageError` if a watched column has ended before a page that is too large."""
        for chunk in self._chunks:
            if chunk.error is not None:
                raise chunk.error

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """Position in the file."""
        return self._stream.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves without reading."""
        return self._stream.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes."""
        start = self.tell()
        chunk = next((chunk for chunk in self._chunks if chunk.holds(start)), None)
        if chunk is None:
            return self._stream.read(size)
        return chunk.checked(self._stream.read(size)) if chunk.accepts(start, size) else b""

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()
        super().close()


class _Chunk:
    """The pages of one column in one row group, as far as they were read."""

    def __init__(self, column: Any, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        starts = [column.data_page_offset, column.dictionary_page_offset or 0]
        self._start: int = min(start for start in starts if start > 0 or start == starts[0])
        self._end: int = self._start + column.total_compressed_size
        self._position = self._start
        self._pending = b""  # what was read of a header
        self._page_bytes = 0  # that follow of the current page
        self.error: ImageError | None = None

    def holds(self, position: int) -> bool:
        return self._start <= position < self._end

    def accepts(self, start: int, size: int) -> bool:
        """Whether a request is made in order and not too large; Arrow asks for whole pages."""
        if self.error is None and start != self._position:
            self.error = ImageError(Reason.UNREADABLE, "its Parquet file has overlapping columns")
        if self.error is None and size > _MAX_PAGES * self._max_bytes + _MAX_HEADER_BYTES:
            self.error = _too_large(size, _MAX_PAGES * self._max_bytes)
        return self.error is None

    def checked(self, content: bytes) -> bytes:
        """The content up to the first page that is too large."""
        done = 0
        while self.error is None:
            passed = min(self._page_bytes, len(content) - done)
            self._page_bytes -= passed
            done += passed
            if done == len(content):
                break
            header = memoryview(content)[done:]
            try:
                found = _page_header(self._pending + header if self._pending else header)
            except ImageError as error:
                self.error = error
                break
            if found is None:
                self._pending += header
                done = len(content)
                self.error = _damaged() if len(self._pending) > _MAX_HEADER_BYTES else None
                break
            length, fields = found
            self._page_bytes = fields.get(_COMPRESSED, 0)
            self.error = self._page_error(self._page_bytes, fields.get(_UNCOMPRESSED, 0))
            if self.error is None:
                done += length - len(self._pending)
                self._pending = b""
        self._position += done
        return content[:done]

    def _page_error(self, compressed: int, uncompressed: int) -> ImageError | None:
        largest = max(compressed, uncompressed)
        limit = max(self._max_bytes, min(_MAX_RATIO * compressed, _MAX_PAGES * self._max_bytes))
        return _too_large(largest, limit) if compressed < 0 or largest > limit else None


def _too_large(num_bytes: int, limit: int) -> ImageError:
    detail = f"its Parquet page has {num_bytes} bytes, at most {limit} are read"
    return ImageError(Reason.TOO_LARGE, detail)


def _damaged() -> ImageError:
    return ImageError(Reason.UNREADABLE, "a page header of its Parquet file is damaged")


def _page_header(content: bytes | memoryview) -> tuple[int, dict[int, int]] | None:
    """Length and numbers of the header that begins here; None if it goes on behind `content`."""
    reader = _CompactReader(content)
    try:
        fields = reader.struct()
    except IndexError:
        return None
    return reader.position, fields


class _CompactReader:
    """Reads one struct; raises `IndexError` where the content ends."""

    def __init__(self, content: bytes | memoryview) -> None:
        self._content = content
        self.position = 0

    def struct(self, depth: int = 0) -> dict[int, int]:
        """Integer fields by number; others are passed over."""
        if depth > _MAX_DEPTH:
            raise _damaged()
        numbers = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else _signed(self._varint())
            kind = head & 15
            if kind in (4, 5, 6):
                numbers[field] = _signed(self._varint())
            elif kind > 2:  # booleans are their own type
                self._pass(kind, depth)
        return numbers

    def _pass(self, kind: int, depth: int) -> None:
        if kind in (4, 5, 6):
            self._varint()
        elif kind in (1, 2, 3, 7):
            self._skip(8 if kind == 7 else 1)
        elif kind == 8:
            self._skip(self._varint())
        elif kind in (9, 10):
            head = self._byte()
            for _ in range(self._varint() if head >> 4 == 15 else head >> 4):
                self._pass(head & 15, depth + 1)
        elif kind == 12:
            self.struct(depth + 1)
        else:  # no page header has a map
            raise _damaged()

    def _byte(self) -> int:
        self.position += 1
        return self._content[self.position - 1]

    def _skip(self, length: int) -> None:
        self.position += length
        if self.position > len(self._content):
            raise IndexError

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift


def _signed(value: int) -> int:
    return (value >> 1) ^ -(value & 1)
