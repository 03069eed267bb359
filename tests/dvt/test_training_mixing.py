"""Mixup, cutmix and RandAugment: pictures stay pictures, and labels say what is in them."""

import pytest
import torch
from torch import Tensor

from dvt.training import TrainingRecipe
from dvt.training.draws import Draws
from dvt.training.mixing import mix
from dvt.training.rand_augment import OPERATIONS, rand_augment


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(images: Tensor, seed: int = 1) -> Draws:
    return Draws(seeded(seed), len(images))


def pictures_that_tell_their_class(count: int = 10) -> tuple[Tensor, Tensor]:
    """Picture i is i/10 all over and of class i, so a mean tells the shares."""
    labels = torch.arange(count)
    return (labels / 10).view(-1, 1, 1, 1).expand(-1, 3, 16, 16).clone(), labels


@pytest.mark.parametrize("alphas", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}])
def test_labels_hold_the_shares_of_the_pictures_that_went_in(alphas: dict[str, float]) -> None:
    images, labels = pictures_that_tell_their_class()
    num_changed = 0
    for seed in range(20):
        mixed, shares = mix(
            images, labels, 10, TrainingRecipe.model_validate(alphas), drawn(images, seed)
        )
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(10))
        told = (shares * labels / 10).sum(dim=1)
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), told, rtol=0, atol=1e-5)
        num_changed += not torch.equal(mixed, images)
    assert num_changed > 15


def test_cutmix_pastes_whole_pixels_and_mixup_blends_all() -> None:
    images, labels = pictures_that_tell_their_class()
    pasted, _ = mix(images, labels, 10, TrainingRecipe(cutmix=1.0), drawn(images))
    assert set(pasted.unique().tolist()) <= set(images.unique().tolist())
    blended, _ = mix(images, labels, 10, TrainingRecipe(mixup=0.8), drawn(images))
    assert blended.flatten(1).std(dim=1).max() < 1e-6


def test_with_both_off_nothing_is_touched() -> None:
    images, labels = pictures_that_tell_their_class()
    mixed, same = mix(images, labels, 10, TrainingRecipe(), drawn(images))
    assert mixed is images
    assert same is labels


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_every_operation_gives_other_pictures_of_the_same_shape(name: str, sign: float) -> None:
    images = torch.rand(6, 3, 17, 17, generator=seeded()) * 0.8 + 0.1
    changed = OPERATIONS[name](images, torch.full((6,), 0.9 * sign))
    assert changed.shape == images.shape
    assert changed.isfinite().all()
    assert not torch.allclose(changed, images, atol=1e-3)


def test_operations_do_little_at_little_strength_where_strength_counts() -> None:
    """Autocontrast and invert have none; posterize to 8 bits and solarize above 1 do nothing."""
    images = torch.rand(4, 3, 16, 16, generator=seeded())
    for name in OPERATIONS.keys() - {"autocontrast", "invert"}:
        changed = OPERATIONS[name](images, torch.full((4,), 1e-4)).clamp(0, 1)
        assert (changed - images).abs().max() < 0.01, name


def test_a_round_changes_most_pictures_and_keeps_them_pictures() -> None:
    images = torch.rand(200, 3, 12, 12, generator=seeded())
    changed = rand_augment(images, 0.9, drawn(images))
    assert changed.min() >= 0
    assert changed.max() <= 1
    moved = (changed - images).flatten(1).abs().amax(dim=1) > 1e-3
    assert moved.float().mean() > 0.9
    assert torch.equal(changed, rand_augment(images, 0.9, drawn(images)))
