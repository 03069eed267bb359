"""Members of a zip, by its central directory; nothing is unpacked to disk.

Source of the format: PKWARE's APPNOTE.TXT, sections 4.3 and 4.4, as read by Python's `zipfile`.
"""

import bz2
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from pipeline.errors import ImageError, Reason
from pipeline.records import Unreadable, ZipMember
from pipeline.storage import Store
from pipeline.storage.base import too_large

__all__ = ["is_zip", "read_member", "zip_entries"]

_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_MAX_EXTRA_BYTES = 256  # read in one go with the content; more costs a second read
_ENCRYPTED = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)


def is_zip(stream: BinaryIO) -> bool:
    """Whether a file is a zip, by its first bytes; leaves the stream at its start."""
    start = stream.read(4)
    stream.seek(0)
    return start in _MAGIC


def zip_entries(
    stream: BinaryIO, file: str
) -> Iterator[tuple[zipfile.ZipInfo, ZipMember | Unreadable]]:
    """All members except folders, in the order of the directory.

    Args:
        stream: of the zip; seekable.
        file: URI of the zip.

    Raises:
        One of `DAMAGE_ERRORS`: the directory is damaged.
    """
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            if info.flag_bits & _ENCRYPTED:
                yield info, Unreadable(file, Reason.FETCH_FAILED, "is encrypted in the zip")
            elif info.compress_type not in _METHODS:
                detail = f"is compressed by method {info.compress_type}, which cannot be read"
                yield info, Unreadable(file, Reason.FETCH_FAILED, detail)
            else:
                yield (
                    info,
                    ZipMember(
                        *(file, info.header_offset, info.compress_size),
                        *(len(info.orig_filename.encode()), info.compress_type, info.CRC),
                    ),
                )


def read_member(
    store: Store, part: ZipMember, etag: str | None, size_bytes: int, max_bytes: int
) -> bytes:
    """The content of one member.

    Args:
        store: that holds the zip.
        part: the member.
        etag: of the zip.
        size_bytes: of the content, as the zip says.
        max_bytes: longer content is not read or unpacked, whatever the zip says.

    Raises:
        ImageError: the member cannot be read, is damaged, or is too long.
        StorageDeniedError: no file can be read.
    """
    if max(size_bytes, part.packed_bytes) > max_bytes:
        raise too_large(max(size_bytes, part.packed_bytes), max_bytes)
    length = _LOCAL_HEADER.size + part.name_bytes + _MAX_EXTRA_BYTES + part.packed_bytes
    read = store.read_range(part.file, etag, part.offset, length)
    if len(read) < _LOCAL_HEADER.size:
        raise ImageError(Reason.TRUNCATED, "the zip ends within it")
    magic, name_bytes, extra_bytes = _LOCAL_HEADER.unpack_from(read)
    if magic != _MAGIC[0]:
        raise ImageError(Reason.UNREADABLE, "its header in the zip is damaged")
    start = _LOCAL_HEADER.size + name_bytes + extra_bytes
    packed = read[start : start + part.packed_bytes]
    if len(packed) < part.packed_bytes:
        packed = store.read_range(part.file, etag, part.offset + start, part.packed_bytes)
    if len(packed) < part.packed_bytes:
        raise ImageError(Reason.TRUNCATED, "the zip ends within it")
    content = _unpacked(packed, part.method, max_bytes)
    if zlib.crc32(content) != part.crc32:
        raise ImageError(Reason.UNREADABLE, "does not match its checksum in the zip")
    return content


def _unpacked(packed: bytes, method: int, max_bytes: int) -> bytes:
    if method == zipfile.ZIP_STORED:
        return packed
    try:
        if method == zipfile.ZIP_DEFLATED:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, max_bytes + 1)
        else:
            content = bz2.BZ2Decompressor().decompress(packed, max_bytes + 1)
    except (zlib.error, OSError) as error:
        raise ImageError(Reason.UNREADABLE, f"is damaged in the zip: {error}") from error
    if len(content) > max_bytes:
        raise too_large(len(content), max_bytes)
    return content
