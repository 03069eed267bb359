"""Damaged files as real archives contain them: truncated, empty, mislabelled, too large, corrupt.

Each kind is a function from an intact image to a damaged file, with the dead-letter reason that
tagging must report for it (None if it must be tagged).
"""

import io
import struct
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from PIL import Image

__all__ = ["DAMAGES", "HUGE_SIDE_PX", "Damage", "DamagedFile"]

HUGE_SIDE_PX = 30_000
"""Side of the image of absurd dimensions: 900 megapixels in about 110 KB."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class DamagedFile(NamedTuple):
    """Content and file name extension."""

    content: bytes
    extension: str


class Damage(NamedTuple):
    """One kind of damage.

    Attributes:
        name: in the truth table.
        expected_reason: dead-letter reason, or None if the image can be tagged.
        make: from an intact RGB image and a number (0, 1, …; kinds with a JPEG and a PNG variant
            alternate) to the file.
    """

    name: str
    expected_reason: str | None
    make: Callable[[Image.Image, int], DamagedFile]


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 90} if kind == "JPEG" else {"compress_level": 1}))
    return buffer.getvalue()


def _truncated_jpeg(image: Image.Image, turn: int) -> DamagedFile:
    content = _encoded(image, "JPEG")
    return DamagedFile(content[: len(content) * 2 // 5], "jpg")


def _truncated_png(image: Image.Image, turn: int) -> DamagedFile:
    content = _encoded(image, "PNG")
    return DamagedFile(content[: len(content) * 2 // 5], "png")


def _empty(image: Image.Image, turn: int) -> DamagedFile:
    return DamagedFile(b"", "jpg")


def _text(image: Image.Image, turn: int) -> DamagedFile:
    text = "404 Not Found\nThe picture that should be here was never fetched.\n"
    return DamagedFile(text.encode(), "jpg")


def _wrong_extension(image: Image.Image, turn: int) -> DamagedFile:
    if turn % 2:
        return DamagedFile(_encoded(image, "JPEG"), "png")
    return DamagedFile(_encoded(image, "PNG"), "jpg")


def _absurd_dimensions(image: Image.Image, turn: int) -> DamagedFile:
    return DamagedFile(_huge_png(), "png")


def _scrambled(image: Image.Image, turn: int) -> DamagedFile:
    if turn % 2:
        return DamagedFile(_scrambled_jpeg(_encoded(image, "JPEG")), "jpg")
    return DamagedFile(_scrambled_png(_encoded(image, "PNG")), "png")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@lru_cache(maxsize=1)
def _huge_png() -> bytes:
    """A valid 1-bit PNG, all black: only its size is wrong."""
    compressor = zlib.compressobj(9)
    row = bytes(1 + HUGE_SIDE_PX // 8)
    # Single rows would call the compressor 30,000 times; all rows at once would need 112 MB.
    rows = row * 100
    data = b"".join(compressor.compress(rows) for _ in range(HUGE_SIDE_PX // 100))
    data += compressor.flush()
    header = struct.pack(">IIBBBBB", HUGE_SIDE_PX, HUGE_SIDE_PX, 1, 0, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    return _PNG_SIGNATURE + chunks


def _scrambled_png(content: bytes) -> bytes:
    """Inverts the compressed data; header, lengths and checksums stay valid."""
    scrambled, at = _PNG_SIGNATURE, len(_PNG_SIGNATURE)
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        if kind == b"IDAT":
            data = bytes(byte ^ 0xFF for byte in data)
        scrambled += _chunk(kind, data)
        at += 12 + length
    return scrambled


def _scrambled_jpeg(content: bytes) -> bytes:
    """Invalidates the first Huffman table.

    Corrupting the scan would not suffice: libjpeg decodes any bits to some image, with a warning.
    """
    counts = content.index(b"\xff\xc4") + 5
    return content[:counts] + b"\xff" * 16 + content[counts + 16 :]


DAMAGES: tuple[Damage, ...] = (
    Damage("truncated_jpeg", "truncated", _truncated_jpeg),
    Damage("truncated_png", "truncated", _truncated_png),
    Damage("empty", "truncated", _empty),
    Damage("text", "not_an_image", _text),
    Damage("wrong_extension", None, _wrong_extension),
    Damage("absurd_dimensions", "too_large", _absurd_dimensions),
    Damage("scrambled", "unreadable", _scrambled),
)
"""All kinds, in the order in which an archive cycles through them."""
