"""JPEG and PNG files reduced to what their pixels need, for files with odd or damaged metadata.

Pillow refuses a whole picture for a short APP0 segment, a text chunk with a wrong checksum, or
metadata that unpacks to more than 1 MiB. None of these is pixels.
Sources: JPEG, ITU-T T.81, annex B; PNG, ISO/IEC 15948.
"""

import io
import struct

import numpy as np
from PIL import Image

from pipeline.decoding.tiff import first_directory

__all__ = ["END_OF_IMAGE", "exif_orientation", "has_all_scanlines", "orientation_of", "pixel_data"]

_JPEG = b"\xff\xd8"
END_OF_IMAGE = b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_START_OF_SCAN = 0xDA
_ADOBE = 0xEE  # APP14 names the colour transform, without which CMYK is shown inverted
_ADOBE_BYTES = 12
_COMMENT = 0xFE
_EXIF = b"Exif\0\0"
_ORIENTATION = 0x0112
_APP0, _APP1, _APP15 = 0xE0, 0xE1, 0xEF
_FILLER = bytes(range(1, 255)) * 4  # entropy-coded data that a complete scan never reads


def pixel_data(content: bytes) -> bytes | None:
    """The file without metadata; None if it is neither JPEG nor PNG, or too damaged to tell."""
    if content.startswith(_JPEG):
        return _jpeg(content)
    return _png(content) if content.startswith(_PNG) else None


def has_all_scanlines(content: bytes, max_pixels: int) -> bool:
    """Whether a JPEG without its end mark lacks nothing else.

    If a scan is incomplete, its decoder reads on into whatever follows; so two different ends give
    two different pictures.
    """
    if not content.startswith(_JPEG) or END_OF_IMAGE in content[-64:]:
        return False
    body = content.rstrip(b"\xff")
    try:
        with Image.open(io.BytesIO(body + END_OF_IMAGE), formats=("JPEG", "MPO")) as one:
            if one.width * one.height > max_pixels:
                return False
            end = body + _FILLER + END_OF_IMAGE
            with Image.open(io.BytesIO(end), formats=("JPEG", "MPO")) as other:
                return np.array_equal(np.asarray(one), np.asarray(other))
    except Exception:  # noqa: BLE001 - Pillow's errors have many types; such a file lacks more
        return False


def exif_orientation(content: bytes) -> int:
    """The EXIF orientation of a JPEG or PNG whose other metadata may be damaged; 1 if unknown."""
    return orientation_of(_exif_block(content))


def orientation_of(exif: bytes) -> int:
    """The orientation in an EXIF block, from 1 (upright) to 8; 1 if it has none."""
    value = first_directory(exif.removeprefix(_EXIF)).get(_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def _exif_block(content: bytes) -> bytes:
    if content.startswith(_JPEG):
        for marker, segment in _segments(content):
            if marker == _APP1 and segment[4:10] == _EXIF:
                return segment[4:]
    elif content.startswith(_PNG):
        for kind, chunk in _chunks(content):
            if kind == b"eXIf":
                return chunk[8:-4]
    return b""


def _jpeg(content: bytes) -> bytes | None:
    kept = [_JPEG]
    for marker, segment in _segments(content):
        if marker == _START_OF_SCAN:
            return b"".join([*kept, segment])
        if marker == _ADOBE:
            has_pixels = len(segment) >= 4 + _ADOBE_BYTES and segment[4:9] == b"Adobe"
        else:
            has_pixels = marker != _COMMENT and not _APP0 <= marker <= _APP15
        if has_pixels:
            kept.append(segment)
    return None


def _segments(content: bytes) -> list[tuple[int, bytes]]:
    """Marker and bytes of each segment; the last is the first scan with all that follows."""
    found = []
    position = len(_JPEG)
    while position + 4 <= len(content):
        if content[position] != 0xFF:
            position += 1  # garbage between segments is skipped, as libjpeg does
            continue
        marker = content[position + 1]
        if marker in (0x00, 0xFF):
            position += 1
            continue
        if marker == _START_OF_SCAN:
            found.append((marker, content[position:]))
            break
        if 0xD0 <= marker <= 0xD9 or marker == 0x01:  # without a body
            position += 2
            continue
        length = int.from_bytes(content[position + 2 : position + 4], "big")
        end = position + 2 + max(2, length)
        found.append((marker, content[position:end]))
        position = end
    return found


def _png(content: bytes) -> bytes | None:
    kept = [_PNG]
    for kind, chunk in _chunks(content):
        if kind in _PNG_CHUNKS:
            kept.append(chunk)
    return b"".join(kept) if len(kept) > 2 else None


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Type and bytes of each chunk; one whose length passes the end of the file is left out."""
    found = []
    position = len(_PNG)
    while position + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, position)
        end = position + 12 + length
        if end > len(content):
            break
        found.append((content[position + 4 : position + 8], content[position:end]))
        position = end
    return found
