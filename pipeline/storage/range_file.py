"""A seekable file over range requests."""

import io
from collections.abc import Callable

__all__ = ["RangeFile"]

_MIN_REQUEST_BYTES = 4096
_MAX_REQUEST_BYTES = 4 * 2**20
# Up to about this distance, reading through a gap is quicker than another request.
_MAX_GAP_BYTES = 2**18


class RangeFile(io.RawIOBase):
    """Reads an object in requests that grow while reading is sequential.

    After a jump, as from header to header in a tar of large images, the next request has the size
    of a header again.

    Args:
        read_range: returns the bytes at (offset, length).
        size_bytes: of the object.
    """

    def __init__(self, read_range: Callable[[int, int], bytes], size_bytes: int) -> None:
        self._read_range = read_range
        self._size_bytes = size_bytes
        self._position = 0
        self._buffer = b""
        self._buffer_start = 0
        self._request_bytes = _MIN_REQUEST_BYTES

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """Position in the object."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves without reading."""
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            offset += self._size_bytes
        self._position = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, fewer only at the end; all that remain if it is negative."""
        chunks: list[bytes] = []
        while size != 0:
            chunk = self._read_chunk(size)
            if not chunk:
                break
            chunks.append(chunk)
            size = size - len(chunk) if size > 0 else size
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def readall(self) -> bytes:
        """All bytes that remain."""
        return self.read()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Reads into a buffer; see `read`."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _read_chunk(self, size: int) -> bytes:
        start = self._position - self._buffer_start
        if not 0 <= start < len(self._buffer):
            gap = self._position - (self._buffer_start + len(self._buffer))
            if 0 <= gap <= _MAX_GAP_BYTES and self._buffer:
                self._request_bytes = min(2 * self._request_bytes + gap, _MAX_REQUEST_BYTES)
            elif self._buffer:
                self._request_bytes = _MIN_REQUEST_BYTES
            length = max(self._request_bytes, min(size, _MAX_REQUEST_BYTES))
            length = min(length, self._size_bytes - self._position)
            if length <= 0:
                return b""
            self._buffer = self._read_range(self._position, length)
            self._buffer_start, start = self._position, 0
        chunk = self._buffer[start : start + size] if size > 0 else self._buffer[start:]
        self._position += len(chunk)
        return chunk
