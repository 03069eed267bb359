"""Headers of a tar that is not trusted; nothing is unpacked, and no content is read.

Source of the format: POSIX.1-2001 pax and GNU tar, as read by Python's `tarfile`.
"""

import io
import lzma
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO, Literal

import pyarrow as pa

__all__ = ["Compression", "ForwardStream", "compression_of", "entries"]

Compression = Literal["gzip", "zstd", "bz2", "xz"]

_MAGIC: dict[bytes, Compression] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bz2",
    b"\xfd7zX": "xz",
}
_MAX_XZ_BYTES = 2**27  # memory of a decompressor; `xz -9` needs 65 MiB
_SKIP_BYTES = 2**20
_NAME_TYPES = {
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
}
_MAX_NAME_BYTES = 2**20
# `tarfile` takes these for the end of the tar. They are not among its documented names.
_HEADER_ERRORS: tuple[type[tarfile.HeaderError], ...] = tuple(
    getattr(tarfile, name) for name in ("InvalidHeaderError", "TruncatedHeaderError")
)


class _CheckedEntry(tarfile.TarInfo):
    """A header that is refused where `tarfile` would trust it.

    `tarfile` reads headers that hold a name into memory whole, stops silently at a damaged header,
    and follows a negative size backwards in an endless loop.
    """

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "_CheckedEntry":
        try:
            return super().fromtarfile(tarfile_)
        except _HEADER_ERRORS as error:
            raise tarfile.ReadError(f"{error} at byte {tarfile_.offset:,}") from error

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _NAME_TYPES and self.size > _MAX_NAME_BYTES:
            raise tarfile.ReadError(f"a name of {self.size:,} bytes")
        if self.size < 0:
            raise tarfile.ReadError(f"a negative size ({self.size})")
        entry: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        if entry.size < 0:  # from a pax header
            raise tarfile.ReadError(f"a negative size ({entry.size})")
        return entry


def entries(stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """All headers, in order.

    Args:
        stream: at the start of the uncompressed tar; only sought forward. The caller may read the
            content of an entry before it takes the next one.

    Raises:
        One of `DAMAGE_ERRORS`: the tar is cut off or damaged from here on.
    """
    # Tars that were joined continue behind an end mark, which is a block of zeros.
    with tarfile.open(
        fileobj=stream, mode="r:", tarinfo=_CheckedEntry, ignore_zeros=True
    ) as archive:
        while (entry := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # keeps memory bounded
            yield entry


def compression_of(stream: BinaryIO) -> Compression | None:
    """The compression of a tar, by its first bytes; leaves the stream at its start."""
    start = stream.read(4)
    stream.seek(0)
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)


class ForwardStream(io.RawIOBase):
    """The content of a compressed file, read and sought forward only.

    Args:
        packed: the compressed file; closed with this.
        compression: its kind.
    """

    def __init__(self, packed: BinaryIO, compression: Compression) -> None:
        self._stream: Any = (
            _XzStream(packed)
            if compression == "xz"
            else pa.CompressedInputStream(pa.PythonFile(packed, "r"), compression)
        )
        self._packed = packed
        self._position = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def tell(self) -> int:
        """Number of uncompressed bytes before the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Skips to the offset, or to the end if that comes first."""
        assert whence == io.SEEK_SET
        assert offset >= self._position, "the stream cannot go back"
        while self._position < offset:
            if not self.read(min(_SKIP_BYTES, offset - self._position)):
                break
        return self._position

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        assert size >= 0
        content: bytes = self._stream.read(size)
        self._position += len(content)
        return content

    def close(self) -> None:
        """Closes the compressed file as well."""
        if not self.closed:
            self._stream.close()
            self._packed.close()
        super().close()


class _XzStream:
    """The content of an xz file, whose streams may follow each other, in bounded memory."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._decompressor: lzma.LZMADecompressor | None = None
        self._input = b""

    def read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            if self._decompressor is None or self._decompressor.eof:
                self._input = self._input.lstrip(b"\0") or self._packed.read(_SKIP_BYTES)
                self._input = self._input.lstrip(b"\0")  # padding between streams
                if not self._input:
                    break
                self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MAX_XZ_BYTES)
            elif self._decompressor.needs_input:
                self._input = self._packed.read(_SKIP_BYTES)
                if not self._input:
                    raise EOFError("unexpected end of the xz file")
            content += self._decompressor.decompress(self._input, size - len(content))
            self._input = self._decompressor.unused_data
        return bytes(content)

    def close(self) -> None:
        """Nothing to close."""
