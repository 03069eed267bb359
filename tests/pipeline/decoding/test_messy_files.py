"""Every file of the messy archive has its outcome: decoded here, in a child, and tagged."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.decoding import DecodeSettings, IsolatedDecoder, decode
from pipeline.errors import ImageError, Reason
from tests.command_line import SHAPES, dvt, rows
from tests.messy_archive import MessyFile, awkward_names, drawing, messy_files, saved
from tests.mutated_files import mutated_files

SETTINGS = DecodeSettings(resize=64, crop=64)
FILES = messy_files()


def outcome(content: bytes, settings: DecodeSettings = SETTINGS) -> tuple[int, int] | Reason:
    try:
        decoded = decode(content, settings)
    except ImageError as error:
        return error.reason
    return decoded.width, decoded.height


@pytest.mark.parametrize("key", FILES)
def test_a_file_of_its_kind_has_the_outcome_that_it_should_in_both_modes(key: str) -> None:
    assert outcome(FILES[key].content) == FILES[key].expected
    fast = DecodeSettings(resize=32, crop=24, decode="fast")
    assert outcome(FILES[key].content, fast) == FILES[key].expected


def test_there_are_at_least_60_kinds_and_every_reason_that_decoding_can_give() -> None:
    expected = [file.expected for file in FILES.values()]
    assert len(FILES) >= 60
    assert set(expected) >= {
        Reason.TRUNCATED,
        Reason.UNREADABLE,
        Reason.NOT_AN_IMAGE,
        Reason.TOO_LARGE,
    }


def colours(content: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return decode(content, SETTINGS).pixels.astype(np.int64)


FAITHFUL = [
    key
    for key, file in FILES.items()
    if isinstance(file.expected, tuple)
    and not any(
        word in key
        for word in ("grey", "one-bit", "fax", "alpha", "transparent", "ycck", "xbm", "rgba16")
    )
    and not key.startswith("turned/")
]


@pytest.mark.parametrize("key", FAITHFUL)
def test_every_format_shows_the_same_picture(key: str) -> None:
    difference = np.abs(colours(FILES[key].content) - colours(saved(drawing(), "PNG")))
    assert difference.mean() < 10


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_by_their_orientation(kind: str, orientation: int) -> None:
    got = colours(FILES[f"turned/{kind.lower()}-{orientation}.{kind.lower()}"].content)
    upright = np.asarray(drawing())
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, -1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, 1),
    }[orientation]
    expected = colours(saved(Image.fromarray(np.ascontiguousarray(turned)), "PNG"))
    assert np.abs(got - expected).mean() < 6


def test_sixteen_bits_are_those_of_eight_and_alpha_lies_over_white() -> None:
    eight = colours(FILES["png/plain.png"].content)
    assert np.abs(colours(FILES["png/rgb16.png"].content) - eight).max() <= 1
    grey = colours(FILES["png/greyscale.png"].content)
    assert np.abs(colours(FILES["png/grey16.png"].content) - grey).max() <= 1
    assert np.abs(colours(FILES["tiff/grey16.tiff"].content) - grey).max() <= 1
    over_white = colours(FILES["png/alpha.png"].content)
    for key in ("other/alpha.avif", "other/alpha.heic", "webp/alpha.webp", "other/alpha.jp2"):
        assert np.abs(colours(FILES[key].content) - over_white).mean() < 10


def test_2000_mutated_files_end_with_pixels_or_a_reason_in_little_memory() -> None:
    decoder = IsolatedDecoder(DecodeSettings(resize=64, crop=64, decode_seconds=5.0))
    resident = []
    files = [content for _, content in mutated_files(2000, seed=7)]
    for start in range(0, len(files), 200):
        block = files[start : start + 200]
        pixels, outcomes = decoder.decode_all(block, len(block))
        assert len(outcomes) == 200
        failures = [answer for answer in outcomes if isinstance(answer, ImageError)]
        assert len(pixels) == 200 - len(failures)
        assert all("crashed" not in error.detail for error in failures)
        resident.append(decoder.resident_bytes)
    decoder.close()
    assert max(resident[5:]) < max(resident[:5]) + 64 * 2**20


@pytest.mark.usefixtures("ray_session")
def test_a_folder_of_all_of_them_is_tagged_as_it_should_whatever_the_files_are_called(
    tmp_path: Path,
) -> None:
    files: dict[bytes, MessyFile] = {key.encode(): file for key, file in FILES.items()}
    files |= awkward_names()
    root = os.fsencode(tmp_path / "archive")
    for name, file in files.items():
        path = Path(os.fsdecode(root + b"/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
    done = dvt("tag", *SHAPES, tmp_path / "archive", "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert done.json["images"] == len(files)
    got: dict[str, object] = {
        row["key"]: Reason(row["reason"]) for row in rows(tmp_path / "out" / "dead_letters")
    }
    got |= {row["key"]: (row["width"], row["height"]) for row in rows(tmp_path / "out" / "tags")}
    # Files that are no pictures by name and content: the decoder's reason in a table of their own.
    got |= {row["key"]: Reason.NOT_AN_IMAGE for row in rows(tmp_path / "out" / "other_files")}
    assert len(got) == len(files)
    for key, file in FILES.items():
        if key.endswith(".zip"):  # is unpacked
            assert any(name.startswith(f"{key}/") for name in got), key
            continue
        assert got[key] == file.expected, key
    texts = {name for name in awkward_names() if _is_utf8(name)}
    assert {got[name.decode()] for name in texts} == {(97, 66)}
    assert sum(key.startswith("names/broken-") for key in got) == 1


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
