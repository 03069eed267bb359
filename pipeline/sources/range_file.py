"""An object as a file: bytes are fetched as they are needed, far jumps cost nothing."""

import io
from collections.abc import Callable

__all__ = ["RangeFile"]

_SMALLEST_BYTES = 4096
_LARGEST_BYTES = 4 * 2**20
# Reading on through what is not wanted is quicker than another request up to about here.
_JUMP_BYTES = 2**18


class RangeFile(io.RawIOBase):
    """A seekable file over reads of ranges.

    The window grows while reading goes on at its end, and shrinks to a header's size when far
    jumps are made, as from header to header in a tar of large pictures.

    Args:
        read_range: the bytes from an offset, so many.
        size_bytes: of the object.
    """

    def __init__(self, read_range: Callable[[int, int], bytes], size_bytes: int) -> None:
        self._read_range = read_range
        self._size_bytes = size_bytes
        self._position = 0
        self._window = b""
        self._window_start = 0
        self._window_bytes = _SMALLEST_BYTES

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Position in the object."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to any position."""
        if whence == io.SEEK_CUR:
            offset += self._position
        elif whence == io.SEEK_END:
            offset += self._size_bytes
        self._position = offset
        return offset

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; fewer only at the end."""
        pieces: list[bytes] = []
        while size != 0:
            piece = self._piece(size)
            if not piece:
                break
            pieces.append(piece)
            size = size - len(piece) if size > 0 else size
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readall(self) -> bytes:
        """Everything from here on."""
        return self.read()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """As `read`, into a buffer."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _piece(self, size: int) -> bytes:
        start = self._position - self._window_start
        if not 0 <= start < len(self._window):
            jump = self._position - (self._window_start + len(self._window))
            if 0 <= jump <= _JUMP_BYTES and self._window:
                self._window_bytes = min(2 * self._window_bytes + jump, _LARGEST_BYTES)
            elif self._window:
                self._window_bytes = _SMALLEST_BYTES
            wanted = max(self._window_bytes, min(size, _LARGEST_BYTES))
            wanted = min(wanted, self._size_bytes - self._position)
            if wanted <= 0:
                return b""
            self._window = self._read_range(self._position, wanted)
            self._window_start, start = self._position, 0
        piece = self._window[start : start + size] if size > 0 else self._window[start:]
        self._position += len(piece)
        return piece
