"""Each augmentation changes images as documented and keeps them in range."""

import pytest
import torch
from torch import Tensor

from dvt.training import TrainingRecipe
from dvt.training.augment import augment
from dvt.training.batch_rng import BatchRng

OFF = TrainingRecipe(horizontal_flip=False, scale_jitter=0.0, brightness_jitter=0.0)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(16, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(images: Tensor, seed: int = 1) -> BatchRng:
    return BatchRng(seeded(seed), len(images))


def test_augmentation_that_is_off_changes_nothing(images: Tensor) -> None:
    torch.testing.assert_close(augment(images, OFF, drawn(images)), images, rtol=0, atol=1e-5)


def test_shape_type_and_range_are_preserved() -> None:
    recipe = TrainingRecipe(scale_jitter=0.5, brightness_jitter=0.9)
    images = (torch.rand(64, 3, 25, 25, generator=seeded(0)) > 0.5).float()
    moved = augment(images, recipe, drawn(images))
    assert moved.shape == images.shape
    assert moved.dtype == torch.float32
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert not torch.allclose(moved, images)


def test_a_flip_mirrors_about_half_of_the_images(images: Tensor) -> None:
    moved = augment(images, OFF.model_copy(update={"horizontal_flip": True}), drawn(images))
    mirrored = images.flip(3)
    kinds = [
        (torch.allclose(new, old, atol=1e-5), torch.allclose(new, other, atol=1e-5))
        for new, old, other in zip(moved, images, mirrored, strict=True)
    ]
    assert set(kinds) == {(True, False), (False, True)}


def test_brightness_is_one_gain_for_all_pixels_of_an_image(images: Tensor) -> None:
    dimmed = images * 0.5
    moved = augment(dimmed, OFF.model_copy(update={"brightness_jitter": 0.4}), drawn(dimmed))
    gains = (moved / dimmed.clamp(min=1e-3)).flatten(1).median(dim=1).values
    assert gains.min() >= 0.6 - 1e-3
    assert gains.max() <= 1.4 + 1e-3
    assert gains.unique().numel() == 16
    torch.testing.assert_close(moved, dimmed * gains.view(-1, 1, 1, 1), rtol=1e-3, atol=1e-3)


def test_zoom_shows_a_part_of_the_image_and_no_border() -> None:
    """A part of a ramp from 0.2 to 0.8 is a ramp within those ends."""
    ramp = torch.linspace(0.2, 0.8, 24).expand(32, 3, 24, 24)
    moved = augment(ramp, OFF.model_copy(update={"scale_jitter": 0.5}), drawn(ramp))
    assert moved.min() >= 0.2 - 1e-5
    assert moved.max() <= 0.8 + 1e-5
    width = moved[:, 0, 0, -1] - moved[:, 0, 0, 0]
    assert width.min() >= 0.29, "at most half is cut off"
    assert width.max() > 0.5
    assert width.min() < 0.4


def test_the_same_seed_gives_the_same_images(images: Tensor) -> None:
    recipe = TrainingRecipe()
    first, again = augment(images, recipe, drawn(images)), augment(images, recipe, drawn(images))
    assert torch.equal(first, again)
    assert not torch.equal(first, augment(images, recipe, drawn(images, 2)))


def test_a_shift_moves_whole_pixels_and_mirrors_the_border() -> None:
    columns = torch.arange(12.0).expand(64, 3, 12, 12) / 12
    moved = augment(columns, OFF.model_copy(update={"shift": 2}), drawn(columns))
    offsets = ((moved[:, 0, 0, 4] - columns[:, 0, 0, 4]) * 12).round().int()
    assert set(offsets.tolist()) == {-2, -1, 0, 1, 2}
    one = moved[offsets == -2][0, 0, 0] * 12
    assert one.round().int().tolist() == [2, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_erasing_leaves_a_grey_square_of_at_most_that_side() -> None:
    white = torch.ones(100, 3, 20, 20)
    erased = augment(white, OFF.model_copy(update={"erase": 0.4}), drawn(white))
    grey = (erased == 0.5).flatten(1).sum(dim=1) / 3
    assert grey.max() == 64
    assert grey.min() >= 16, "a quarter of it at a corner"
    assert ((erased == 0.5) | (erased == 1)).all()
