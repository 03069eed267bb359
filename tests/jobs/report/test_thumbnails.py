"""Thumbnails of paths and file URIs, and the few words in place of unreadable ones."""

import base64
import io
import struct
from pathlib import Path

import pytest
from PIL import Image

from jobs.report.thumbnails import THUMBNAIL_PIXELS, ThumbnailReader


def read_thumbnail(uri: str) -> tuple[str | None, str]:
    with ThumbnailReader() as thumbnails:
        return thumbnails.read(uri)


def decode(data_uri: str | None) -> Image.Image:
    assert data_uri is not None
    return Image.open(
        io.BytesIO(base64.b64decode(data_uri.removeprefix("data:image/jpeg;base64,")))
    )


def test_a_path_and_its_file_uri_give_the_same_square(pictures: list[Path]) -> None:
    thumbnail, missing = read_thumbnail(str(pictures[1]))
    assert missing == ""
    assert decode(thumbnail).size == (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS)
    assert read_thumbnail(pictures[1].as_uri()) == (thumbnail, "")


def test_a_sideways_image_is_turned_upright(tmp_path: Path) -> None:
    """Red above blue, stored with orientation 6: shown with red on the right."""
    image = Image.new("RGB", (200, 200), "red")
    image.paste("blue", (0, 100, 200, 200))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "sideways.jpg", exif=exif)
    shown = decode(read_thumbnail(str(tmp_path / "sideways.jpg"))[0])
    red, _, blue = shown.getpixel((150, 80))  # type: ignore[misc]
    assert red > 200 > blue


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    shown = decode(read_thumbnail(str(tmp_path / "clear.png"))[0])
    assert shown.getpixel((80, 80)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "I;16"])
def test_every_mode_of_pixels_has_a_thumbnail(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (30, 20)).save(tmp_path / "picture.tiff")
    assert read_thumbnail(str(tmp_path / "picture.tiff"))[1] == ""


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://bucket/a.jpg", "not on this machine"),
        ("file://other-host/a.jpg", "not on this machine"),
        ("/gone/a.jpg", "no longer there"),
        ("file:///gone/a%00.jpg", ""),
        ("/dev/zero", "no longer there"),
        ("http://[broken", "cannot be read now"),
    ],
)
def test_what_is_not_a_local_file_says_so(uri: str, words: str) -> None:
    thumbnail, missing = read_thumbnail(uri)
    assert thumbnail is None
    assert missing
    assert words in missing


@pytest.mark.parametrize("content", [b"", b"<html>", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_a_file_that_is_no_picture_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_thumbnail(str(tmp_path / "a.jpg")) == (None, "cannot be read now")


def test_a_truncated_picture_says_so(tmp_path: Path) -> None:
    Image.effect_noise((300, 300), 90).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    assert read_thumbnail(str(tmp_path / "a.jpg")) == (None, "cannot be read now")


def test_a_picture_too_large_to_decode_says_so(tmp_path: Path) -> None:
    """Its header declares a gigapixel; no more is needed to refuse it."""
    Image.new("L", (10, 10)).save(tmp_path / "a.bmp")
    content = bytearray((tmp_path / "a.bmp").read_bytes())
    content[18:26] = struct.pack("<ii", 32_000, 32_000)
    (tmp_path / "a.bmp").write_bytes(content)
    assert read_thumbnail(str(tmp_path / "a.bmp")) == (None, "cannot be read now")
