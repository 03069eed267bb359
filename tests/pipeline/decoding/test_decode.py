import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from pipeline.decoding import DecodeSettings, decode
from pipeline.errors import ImageError, Reason

SETTINGS = DecodeSettings(resize=64, crop=48, max_pixels=10_000_000)


def gradient(width: int = 120, height: int = 90) -> Image.Image:
    x = np.linspace(0, 255, width)[None, :, None]
    y = np.linspace(0, 255, height)[:, None, None]
    pixels = np.concatenate([x + 0 * y, y + 0 * x, 0 * x + 0 * y + 80], axis=2)
    return Image.fromarray(pixels.astype(np.uint8))


def saved(picture: Image.Image, format_name: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format_name, **options)
    return stream.getvalue()


def test_the_picture_is_resized_by_its_short_side_and_cropped_in_the_centre() -> None:
    picture = gradient()
    got = decode(saved(picture, "PNG"), SETTINGS)
    resized = picture.resize((85, 64), Image.Resampling.BICUBIC)
    left, top = round((85 - 48) / 2), round((64 - 48) / 2)
    expected = np.asarray(resized.crop((left, top, left + 48, top + 48)))
    assert np.abs(got.pixels.astype(int) - expected).max() <= 1
    assert (got.width, got.height) == (120, 90)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_content_determines_the_format_and_pixels_are_about_the_same(format_name: str) -> None:
    picture = gradient()
    got = decode(saved(picture, format_name), SETTINGS).pixels.astype(int)
    expected = decode(saved(picture, "PNG"), SETTINGS).pixels.astype(int)
    assert np.abs(got - expected).mean() < 6


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    base = gradient()
    if mode == "I;16":
        grey = np.asarray(base.convert("L"), dtype=np.uint16) * 256
        content = saved(Image.fromarray(grey), "PNG")
    else:
        content = saved(base.convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    pixels = decode(content, SETTINGS).pixels
    assert pixels.shape == (48, 48, 3)
    assert pixels.std() > 5


def test_transparency_lies_over_white() -> None:
    clear = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    assert (decode(saved(clear, "PNG"), SETTINGS).pixels == 255).all()


def test_a_picture_lying_on_its_side_is_turned_upright() -> None:
    picture = gradient(200, 100)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to view
    turned = decode(saved(picture, "JPEG", exif=exif, quality=95), SETTINGS)
    assert (turned.width, turned.height) == (100, 200)


def png_of_declared_size(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def scrambled_jpeg() -> bytes:
    content = bytearray(saved(gradient(), "JPEG"))
    content[len(content) // 2 : len(content) // 2 + 40] = b"\xff\xc4" * 20
    return bytes(content)


BAD: dict[str, tuple[Callable[[], bytes], Reason]] = {
    "empty": (lambda: b"", Reason.TRUNCATED),
    "a PostScript page": (
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        Reason.NOT_AN_IMAGE,
    ),
    "a sound": (lambda: b"RIFF\x24\0\0\0WAVEfmt " + bytes(200), Reason.NOT_AN_IMAGE),
    "a text": (lambda: b"Dear Sir or Madam, " * 20, Reason.NOT_AN_IMAGE),
    "a page": (lambda: b"<html><body>404</body></html>", Reason.NOT_AN_IMAGE),
    "zeros": (lambda: bytes(5000), Reason.NOT_AN_IMAGE),
    "a cut JPEG": (lambda: saved(gradient(), "JPEG")[:1000], Reason.TRUNCATED),
    "a cut PNG": (lambda: saved(gradient(), "PNG")[:-200], Reason.TRUNCATED),
    "a header cut short": (lambda: saved(gradient(), "JPEG")[:10], Reason.TRUNCATED),
    "a scrambled JPEG": (scrambled_jpeg, Reason.UNREADABLE),
    "30000x30000": (lambda: png_of_declared_size(30_000, 30_000), Reason.TOO_LARGE),
    "5000x5000": (lambda: png_of_declared_size(5000, 5000), Reason.TOO_LARGE),
    "data that ends early": (lambda: png_of_declared_size(500, 500), Reason.TRUNCATED),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_has_the_right_reason_and_one_line_of_detail(name: str) -> None:
    make, reason = BAD[name]
    with pytest.raises(ImageError) as raised:
        decode(make(), SETTINGS)
    assert raised.value.reason == reason
    assert raised.value.detail
    assert "\n" not in raised.value.detail


def test_a_picture_of_one_pixel_height_is_no_crash() -> None:
    pixels = decode(saved(Image.new("RGB", (300, 1), "red"), "PNG"), SETTINGS).pixels
    assert (pixels == (255, 0, 0)).all()


def test_a_thin_picture_whose_resized_form_would_fill_the_memory_is_too_large() -> None:
    settings = DecodeSettings(resize=256, crop=224)
    with pytest.raises(ImageError) as raised:
        decode(saved(Image.new("RGB", (1, 40_000)), "PNG"), settings)
    assert raised.value.reason == Reason.TOO_LARGE


def test_a_picture_that_resizing_would_blow_up_is_too_large() -> None:
    with pytest.raises(ImageError) as raised:
        decode(saved(Image.new("RGB", (3000, 1)), "PNG"), SETTINGS)
    assert raised.value.reason == Reason.TOO_LARGE
