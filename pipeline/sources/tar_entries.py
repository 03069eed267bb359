"""Headers of a tar, one by one and with suspicion; nothing is unpacked, no content is read.

Source of the format: POSIX.1-2001 pax and GNU tar, as Python's `tarfile` reads them.
"""

import io
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, Literal

import pyarrow as pa

from pipeline.errors import ImageError, Reason

__all__ = [
    "DAMAGE",
    "CheckedEntry",
    "Compression",
    "ForwardStream",
    "compression_of",
    "damaged",
    "entries",
]

Compression = Literal["gzip", "zstd"]
DAMAGE = (tarfile.TarError, OSError, EOFError, pa.ArrowException, ValueError)

_MAGIC: dict[bytes, Compression] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_SKIPPED_BYTES = 2**20
_LONG_NAMES = {
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
}
# Not in the module's documented names; `tarfile` takes them for the end.
_BAD_HEADERS: tuple[type[tarfile.HeaderError], ...] = tuple(
    getattr(tarfile, name) for name in ("InvalidHeaderError", "TruncatedHeaderError")
)
_LONGEST_NAME_BYTES = 1 << 20


class CheckedEntry(tarfile.TarInfo):
    """A header that is refused where `tarfile` would trust it.

    `tarfile` reads headers that hold a name whole, ends in silence at a damaged header, and follows
    sizes below zero backwards, for ever.
    """

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "CheckedEntry":
        """See `tarfile.TarInfo.fromtarfile`."""
        try:
            return super().fromtarfile(tarfile_)
        except _BAD_HEADERS as error:
            raise tarfile.ReadError(f"{error} at byte {tarfile_.offset:,}") from error

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _LONG_NAMES and self.size > _LONGEST_NAME_BYTES:
            raise tarfile.ReadError(f"a name of {self.size:,} bytes")
        if self.size < 0:
            raise tarfile.ReadError(f"a size below zero ({self.size})")
        entry: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        if entry.size < 0:  # a pax header may give another
            raise tarfile.ReadError(f"a size below zero ({entry.size})")
        return entry


def entries(stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """All headers.

    Args:
        stream: at the start of the tar, unpacked; is sought forward only.

    Raises:
        One of `DAMAGE`: the tar is cut off or damaged from here on.
    """
    with tarfile.open(fileobj=stream, mode="r:", tarinfo=CheckedEntry) as archive:
        while (entry := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # or it keeps them all
            yield entry


def damaged(error: Exception, what: str) -> ImageError:
    """The error for an image behind the damage.

    Args:
        error: one of `DAMAGE`.
        what: is damaged.
    """
    text = " ".join(str(error).split())
    is_end = any(hint in text.lower() for hint in ("truncat", "unexpected end", "eof"))
    return ImageError(Reason.TRUNCATED if is_end else Reason.UNREADABLE, f"{what}: {text}")


def compression_of(stream: BinaryIO) -> Compression | None:
    """How a tar is compressed, by its first bytes; the stream is at its start again."""
    start = stream.read(4)
    stream.seek(0)
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)


class ForwardStream(io.RawIOBase):
    """What a compressed file unpacks to, read and sought forward only.

    Args:
        packed: the compressed file.
        compression: its kind.
    """

    def __init__(self, packed: BinaryIO, compression: Compression) -> None:
        self._stream = pa.CompressedInputStream(pa.PythonFile(packed, "r"), compression)
        self._packed = packed
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Bytes unpacked so far."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Unpacks up to there, or to the end."""
        assert whence == io.SEEK_SET
        assert offset >= self._position, "what was unpacked is gone"
        while self._position < offset:
            if not self.read(min(_SKIPPED_BYTES, offset - self._position)):
                break
        return self._position

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        assert size >= 0
        content: bytes = self._stream.read(size)
        self._position += len(content)
        return content

    def close(self) -> None:
        """Closes the packed file as well."""
        if not self.closed:
            self._stream.close()
            self._packed.close()
        super().close()
