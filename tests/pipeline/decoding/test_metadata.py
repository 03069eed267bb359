"""What is not pixels never costs a picture."""

import io
import struct
import zlib
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from pipeline.decoding import DecodeNote, DecodeSettings, decode, fit
from pipeline.errors import ImageError, Reason
from tests.messy_archive import drawing

SETTINGS = DecodeSettings(resize=40, crop=32)
ORIENTATION = 0x0112


def jpeg(**options: object) -> bytes:
    stream = io.BytesIO()
    drawing(96, 64).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def png(**options: object) -> bytes:
    stream = io.BytesIO()
    drawing(96, 64).save(stream, "PNG", **options)
    return stream.getvalue()


def inserted(segment: bytes, content: bytes | None = None) -> bytes:
    """A JPEG with a segment right behind its start mark."""
    content = content or jpeg()
    return content[:2] + segment + content[2:]


def chunk(kind: bytes, body: bytes, *, checksum: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def with_chunk(added: bytes, before: bytes = b"IDAT") -> bytes:
    content = png()
    position = content.index(before) - 4
    return content[:position] + added + content[position:]


def unpacks_to(size: int) -> bytes:
    return zlib.compress(b"x" * size)


ODD: dict[str, tuple[Callable[[], bytes], Callable[[], bytes]]] = {
    "JFIF too short": (lambda: inserted(b"\xff\xe0\x00\x09JFIF\0\1\1"), jpeg),
    "ICC profile too short": (lambda: inserted(b"\xff\xe2\x00\x0eICC_PROFILE\0"), jpeg),
    "Adobe too short": (lambda: inserted(b"\xff\xee\x00\x08Adobe\0"), jpeg),
    "EXIF of garbage": (lambda: inserted(b"\xff\xe1\x00\x0cExif\0\0MM\0\1"), jpeg),
    "Photoshop block of garbage": (
        lambda: inserted(b"\xff\xed\x00\x16Photoshop 3.0\x008BIM\0\0"),
        jpeg,
    ),
    "gAMA too short": (lambda: with_chunk(chunk(b"gAMA", b"\0\1")), png),
    "pHYs too short": (lambda: with_chunk(chunk(b"pHYs", b"\0\0\1")), png),
    "cHRM too short": (lambda: with_chunk(chunk(b"cHRM", b"\0")), png),
    "tEXt with a wrong checksum": (lambda: with_chunk(chunk(b"tEXt", b"a\0b", checksum=7)), png),
    "text that unpacks to 2 MiB": (
        lambda: with_chunk(chunk(b"zTXt", b"prompt\0\0" + unpacks_to(2**21))),
        png,
    ),
    "international text that unpacks to 2 MiB": (
        lambda: with_chunk(chunk(b"iTXt", b"XML\0\1\0\0\0" + unpacks_to(2**21))),
        png,
    ),
    "text behind the pixels": (
        lambda: with_chunk(chunk(b"zTXt", b"prompt\0\0" + unpacks_to(2**21)), before=b"IEND"),
        png,
    ),
    "a profile that unpacks to 2 MiB": (
        lambda: with_chunk(chunk(b"iCCP", b"icc\0\0" + unpacks_to(2**21))),
        png,
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_metadata_changes_no_pixel(name: str) -> None:
    odd, plain = (make() for make in ODD[name])
    found = decode(odd, SETTINGS)
    np.testing.assert_array_equal(found.pixels, decode(plain, SETTINGS).pixels)
    assert (found.width, found.height, found.note) == (96, 64, None)


@pytest.mark.parametrize("tag", [0x010F, 0x011A, 0x0128, 0x0213, 0x8825])
@pytest.mark.parametrize("kind", [2, 5, 7, 8])
def test_a_rotated_picture_with_an_exif_tag_of_an_unusual_type_is_turned(
    tag: int, kind: int
) -> None:
    entries = [(ORIENTATION, 3, 1, struct.pack("<HH", 6, 0)), (tag, kind, 1, b"\xfe\xff\0\0")]
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    for number, type_, count, value in sorted(entries):
        exif += struct.pack("<HHI", number, type_, count) + value
    exif += b"\0\0\0\0"
    content = inserted(b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif)
    found = decode(content, SETTINGS)
    assert (found.width, found.height) == (64, 96)
    with Image.open(io.BytesIO(jpeg())) as picture:
        expected = fit(picture.transpose(Image.Transpose.ROTATE_270), SETTINGS)
    np.testing.assert_array_equal(found.pixels, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_by_pillow(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    content = jpeg(exif=exif)
    with Image.open(io.BytesIO(content)) as picture:
        expected = fit(ImageOps.exif_transpose(picture), SETTINGS)
    np.testing.assert_array_equal(decode(content, SETTINGS).pixels, expected)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_only_its_end_mark_is_decoded_and_says_so(progressive: bool) -> None:
    whole = jpeg(progressive=progressive)
    assert whole.endswith(b"\xff\xd9")
    found = decode(whole[:-2], SETTINGS)
    np.testing.assert_array_equal(found.pixels, decode(whole, SETTINGS).pixels)
    assert found.note == DecodeNote.NO_END_MARK


def test_a_jpeg_that_lacks_scanlines_stays_a_dead_letter() -> None:
    whole = jpeg()
    for length in range(len(whole) // 2, len(whole) - 8, 97):
        with pytest.raises(ImageError) as error:
            decode(whole[:length], SETTINGS)
        assert error.value.reason == Reason.TRUNCATED


def test_a_damaged_png_stays_a_dead_letter() -> None:
    content = bytearray(png())
    start = content.index(b"IDAT") + 30
    content[start : start + 40] = bytes(40)
    with pytest.raises(ImageError):
        decode(bytes(content), SETTINGS)


def test_text_chunks_are_no_way_round_the_limit_of_pixels() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b")
    content = png(pnginfo=info)
    with pytest.raises(ImageError) as error:
        decode(content, SETTINGS.model_copy(update={"max_pixels": 100}))
    assert error.value.reason == Reason.TOO_LARGE
    assert len(list(pairwise(content))) > 100
