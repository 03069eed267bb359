"""Damaged files fail in Pillow as their kind predicts."""

import io

import pytest
from PIL import Image, UnidentifiedImageError

from jobs.shapes import render
from jobs.shapes.damage import DAMAGES, HUGE_SIDE_PX, DamagedFile


def damaged(name: str, turn: int = 0) -> DamagedFile:
    (damage,) = [damage for damage in DAMAGES if damage.name == name]
    return damage.make(render(0, 0, 160, 120).image, turn)


@pytest.mark.parametrize("name", ["truncated_jpeg", "truncated_png"])
def test_a_truncated_file_opens_and_then_lacks_data(name: str) -> None:
    image = Image.open(io.BytesIO(damaged(name).content))
    assert image.size == (160, 120)
    with pytest.raises(OSError, match="truncated"):
        image.load()


@pytest.mark.parametrize("name", ["empty", "text"])
def test_a_file_without_an_image_is_not_identified(name: str) -> None:
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(damaged(name).content))


@pytest.mark.parametrize(("turn", "extension", "format_"), [(0, "jpg", "PNG"), (1, "png", "JPEG")])
def test_a_wrong_extension_hides_an_intact_image(turn: int, extension: str, format_: str) -> None:
    file = damaged("wrong_extension", turn)
    assert file.extension == extension
    image = Image.open(io.BytesIO(file.content))
    image.load()
    assert image.format == format_


def test_absurd_dimensions_are_refused_from_the_header_of_a_small_file() -> None:
    content = damaged("absurd_dimensions").content
    assert len(content) < 200_000
    assert int.from_bytes(content[16:20], "big") == HUGE_SIDE_PX
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(content))


@pytest.mark.parametrize("turn", [0, 1])
def test_a_scrambled_file_opens_and_then_cannot_be_decoded(turn: int) -> None:
    file = damaged("scrambled", turn)
    image = Image.open(io.BytesIO(file.content))
    assert image.size == (160, 120)
    with pytest.raises(OSError, match="broken data stream"):
        image.load()
