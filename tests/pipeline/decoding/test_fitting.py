"""Crop windows against the plain way: resize all, then cut out the centre."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from benchmarks.decode import plain
from pipeline.decoding import DecodeSettings, decode, fit
from tests.photographs import PHOTOGRAPH_SIZES, photograph


def noise(width: int, height: int) -> Image.Image:
    """Black and white dots, for which rounding and clipping matter most."""
    dots = np.random.default_rng(width * 10_000 + height).integers(0, 2, (height, width, 3))
    return Image.fromarray((dots * 255).astype(np.uint8))


def off(got: NDArray[np.uint8], expected: NDArray[np.uint8]) -> NDArray[np.int16]:
    difference: NDArray[np.int16] = np.abs(got.astype(np.int16) - expected)
    return difference


SIZES = [
    *[(256, 256), (257, 256), (224, 224), (500, 333), (333, 500), (640, 480), (480, 640)],
    *[(150, 200), (200, 150), (1, 1), (3, 7), (40, 200), (200, 40), (1000, 299), (299, 1000)],
    *[(517, 981), (520, 987), (1283, 770), (770, 1283), (91, 92), (2000, 260)],
]


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_within_one_grey_level_of_the_plain_way_at_any_size(
    size: tuple[int, int], tmp_path: Path
) -> None:
    picture = noise(*size)
    picture.save(tmp_path / "a.png")
    difference = off(fit(picture, DecodeSettings(resize=256, crop=224)), plain(tmp_path / "a.png"))
    assert (difference > 1).mean() < 1e-4
    assert (difference > 0).mean() < 0.02
    assert difference.max() <= 2


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (248, 224), (64, 64), (32, 32), (40, 64)])
def test_other_sizes_and_filters_equal_the_plain_way_too(
    resize: int, crop: int, interpolation: str
) -> None:
    settings = DecodeSettings.model_validate(
        {"resize": resize, "crop": crop, "interpolation": interpolation}
    )
    picture = noise(300, 200)
    size = (int(resize * 300 / 200), resize)
    left, top = (round((side - crop) / 2) for side in size)
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    resized = picture.resize(size, filters[interpolation])
    expected = np.asarray(resized.crop((left, top, left + crop, top + crop)))
    assert off(fit(picture, settings), expected).max() <= 1


def test_photographs_are_within_one_grey_level_but_for_one_value_in_a_million(
    tmp_path: Path,
) -> None:
    settings = DecodeSettings(resize=256, crop=224)
    differences = []
    for number, size in enumerate(PHOTOGRAPH_SIZES):
        path = tmp_path / f"{number}.jpg"
        photograph(*size).save(path, quality=90)
        differences.append(off(decode(path.read_bytes(), settings).pixels, plain(path)))
    assert max(difference.max() for difference in differences) <= 2
    assert np.mean([(difference > 1).mean() for difference in differences]) < 1e-6


def test_the_fast_mode_shrinks_large_photographs_and_keeps_their_size_and_look(
    tmp_path: Path,
) -> None:
    picture = noise(40, 30).resize((1303, 901), Image.Resampling.BICUBIC)
    path = tmp_path / "large.jpg"
    picture.save(path, quality=92)
    fast = decode(path.read_bytes(), DecodeSettings(resize=256, crop=224, decode="fast"))
    assert (fast.width, fast.height) == (1303, 901)
    assert off(fast.pixels, plain(path)).mean() < 3
