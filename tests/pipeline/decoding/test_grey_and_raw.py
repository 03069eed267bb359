"""Grey pictures of more than 8 bits, and camera raw files."""

import io
import struct
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.decoding import DecodeNote, DecodeSettings, decode
from pipeline.decoding.raw import is_camera_raw
from pipeline.errors import ImageError, Reason

SETTINGS = DecodeSettings(resize=32, crop=32)
SHORT, LONG, BYTE, SUB_DIRECTORIES, DNG_VERSION = 3, 4, 1, 330, 50706


def ramp(largest: int) -> NDArray[np.float64]:
    """Values from 0 to the largest, [32, 32]."""
    return np.linspace(0, largest, 1024).reshape(32, 32)


def tiff(pixels: NDArray[np.generic], bits: int, sample_format: int = 1, **more: int) -> bytes:
    """An uncompressed grey TIFF; `more` are numbers of tags t330=… with LONG values."""
    data = pixels.tobytes()
    height, width = pixels.shape
    tags = {256: (SHORT, width), 257: (SHORT, height), 258: (SHORT, bits), 259: (SHORT, 1)}
    tags |= {262: (SHORT, 1), 273: (LONG, 8), 277: (SHORT, 1), 278: (SHORT, height)}
    tags |= {279: (LONG, len(data)), 339: (SHORT, sample_format)}
    tags |= {int(name[1:]): (LONG, value) for name, value in more.items()}
    directory = struct.pack("<H", len(tags))
    for tag, (kind, value) in sorted(tags.items()):
        directory += struct.pack("<HHII", tag, kind, 1, value)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + b"\0\0\0\0"


def shown(content: bytes) -> tuple[NDArray[np.uint8], DecodeNote | None]:
    found = decode(content, SETTINGS)
    return found.pixels[:, :, 0], found.note


@pytest.mark.parametrize(
    ("kind", "bits", "largest", "note"),
    [
        (np.uint16, 16, 65_535, None),
        (np.uint16, 16, 4_095, DecodeNote.RANGE_INFERRED),
        (np.uint32, 32, 2**32 - 1, None),
        (np.uint32, 32, 65_535, DecodeNote.RANGE_INFERRED),
        (np.int32, 32, 2**31 - 1, None),
    ],
)
def test_every_depth_shows_the_same_picture(
    kind: type[np.generic], bits: int, largest: int, note: DecodeNote | None
) -> None:
    """A ramp from black to white, within half a percent; a signed one ends at mid-grey."""
    pixels, found = shown(tiff(ramp(largest).astype(kind), bits))
    expected = ramp(127 if largest == 2**31 - 1 else 255)
    assert np.abs(pixels - expected).max() <= 1.5
    assert found == note


@pytest.mark.parametrize(
    ("pixels", "sample_format"),
    [(ramp(100_000).astype(np.uint32), 1), ((ramp(2**31) - 2**30).astype(np.int32), 2)],
)
def test_32_bits_of_unknown_range_are_a_dead_letter(
    pixels: NDArray[np.generic], sample_format: int
) -> None:
    with pytest.raises(ImageError, match="unknown range"):
        decode(tiff(pixels, 32, sample_format), SETTINGS)


def test_a_raw_file_is_never_its_thumbnail() -> None:
    """A first directory that is a preview and points to others, as NEF and DNG have it."""
    preview = np.zeros((16, 16), np.uint8)
    raw = tiff(preview, 8, t254=1, t330=9_999)
    assert is_camera_raw(raw)
    with pytest.raises(ImageError, match="a camera raw file") as error:
        decode(raw, SETTINGS)
    assert error.value.reason == Reason.UNREADABLE


def test_a_raw_file_without_the_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    with pytest.raises(ImageError, match=r"pip install 'dvt-pipeline\[raw\]'"):
        decode(b"IIRO" + bytes(100), SETTINGS)


@pytest.mark.parametrize(
    ("content", "is_raw"),
    [
        (b"II*\0\x10\0\0\0CR\x02\0" + bytes(20), True),
        (b"\0\0\0\x18ftypcrx " + bytes(20), True),
        (b"FUJIFILMCCD-RAW 0201" + bytes(20), True),
        (tiff(np.zeros((8, 8), np.uint8), 8, t50706=0x0104), True),
        (tiff(np.zeros((8, 8), np.uint8), 8), False),
        (tiff(np.zeros((8, 8), np.uint8), 8, t254=1), False),
        (b"II*\0\xff\xff\xff\xff", False),
        (b"MM\0*", False),
    ],
)
def test_raw_files_are_told_by_content(content: bytes, is_raw: bool) -> None:
    assert is_camera_raw(content) == is_raw


def test_a_dng_is_shown_by_its_preview() -> None:
    """LibRaw reads a minimal DNG: a preview of 640 pixels behind a first directory of 16."""
    pytest.importorskip("rawpy")
    stream = io.BytesIO()
    Image.new("RGB", (640, 480), (200, 30, 30)).save(stream, "JPEG")
    found = decode(_dng(stream.getvalue()), SETTINGS)
    assert found.note == DecodeNote.RAW_PREVIEW
    assert (found.width, found.height) == (640, 480)
    assert np.abs(found.pixels.reshape(-1, 3).mean(0) - (200, 30, 30)).max() < 4


def _dng(preview: bytes) -> bytes:
    """A Bayer picture of 64 x 48 in the first directory, and a JPEG preview in a second."""
    width, height = 64, 48
    data = (np.arange(width * height) % 4096).astype("<u2").tobytes()
    start = 8
    preview_at = start + len(data)
    first_at = preview_at + len(preview) + (len(preview) % 2)
    rational = struct.pack("<9i", 1, 0, 0, 0, 1, 0, 0, 0, 1)
    tags: list[tuple[int, int, int, bytes]] = [
        (254, LONG, 1, struct.pack("<I", 0)),
        (256, LONG, 1, struct.pack("<I", width)),
        (257, LONG, 1, struct.pack("<I", height)),
        (258, SHORT, 1, struct.pack("<HH", 16, 0)),
        (259, SHORT, 1, struct.pack("<HH", 1, 0)),
        (262, SHORT, 1, struct.pack("<HH", 32803, 0)),
        (271, 2, 4, b"dvt\0"),
        (272, 2, 4, b"one\0"),
        (273, LONG, 1, struct.pack("<I", start)),
        (274, SHORT, 1, struct.pack("<HH", 1, 0)),
        (277, SHORT, 1, struct.pack("<HH", 1, 0)),
        (278, LONG, 1, struct.pack("<I", height)),
        (279, LONG, 1, struct.pack("<I", len(data))),
        (33421, SHORT, 2, struct.pack("<HH", 2, 2)),
        (33422, BYTE, 4, bytes((0, 1, 1, 2))),
        (DNG_VERSION, BYTE, 4, bytes((1, 4, 0, 0))),
        (50708, 2, 4, b"one\0"),
    ]
    second = [
        (254, LONG, 1, struct.pack("<I", 1)),
        (256, LONG, 1, struct.pack("<I", 640)),
        (257, LONG, 1, struct.pack("<I", 480)),
        (258, SHORT, 1, struct.pack("<HH", 8, 0)),
        (259, SHORT, 1, struct.pack("<HH", 7, 0)),
        (262, SHORT, 1, struct.pack("<HH", 6, 0)),
        (273, LONG, 1, struct.pack("<I", preview_at)),
        (277, SHORT, 1, struct.pack("<HH", 3, 0)),
        (278, LONG, 1, struct.pack("<I", 480)),
        (279, LONG, 1, struct.pack("<I", len(preview))),
    ]
    del rational
    first_bytes = 2 + 12 * len(tags) + 4
    directories = struct.pack("<H", len(tags))
    directories += b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in tags)
    directories += struct.pack("<I", first_at + first_bytes)
    directories += struct.pack("<H", len(second))
    directories += b"".join(struct.pack("<HHI", *tag[:3]) + tag[3] for tag in second)
    directories += b"\0\0\0\0"
    padding = b"\0" * (len(preview) % 2)
    return b"II*\0" + struct.pack("<I", first_at) + data + preview + padding + directories
