"""Mixup and cutmix: labels hold the shares of the images that were mixed."""

import pytest
import torch
from torch import Tensor

from dvt.training import TrainingRecipe
from dvt.training.batch_rng import BatchRng
from dvt.training.mixing import mix


def seeded(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(images: Tensor, seed: int = 1) -> BatchRng:
    return BatchRng(seeded(seed), len(images))


def images_filled_with_their_class(count: int = 10) -> tuple[Tensor, Tensor]:
    """Image i is filled with i/10 and has class i, so a mean gives the shares."""
    labels = torch.arange(count)
    return (labels / 10).view(-1, 1, 1, 1).expand(-1, 3, 16, 16).clone(), labels


@pytest.mark.parametrize("alphas", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}])
def test_labels_hold_the_shares_of_the_mixed_images(alphas: dict[str, float]) -> None:
    images, labels = images_filled_with_their_class()
    num_changed = 0
    for seed in range(20):
        mixed, shares = mix(
            images, labels, 10, TrainingRecipe.model_validate(alphas), drawn(images, seed)
        )
        torch.testing.assert_close(shares.sum(dim=1), torch.ones(10))
        expected = (shares * labels / 10).sum(dim=1)
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), expected, rtol=0, atol=1e-5)
        num_changed += not torch.equal(mixed, images)
    assert num_changed > 15


def test_cutmix_pastes_whole_pixels_and_mixup_blends_all() -> None:
    images, labels = images_filled_with_their_class()
    pasted, _ = mix(images, labels, 10, TrainingRecipe(cutmix=1.0), drawn(images))
    assert set(pasted.unique().tolist()) <= set(images.unique().tolist())
    blended, _ = mix(images, labels, 10, TrainingRecipe(mixup=0.8), drawn(images))
    assert blended.flatten(1).std(dim=1).max() < 1e-6


def test_with_both_off_nothing_changes() -> None:
    images, labels = images_filled_with_their_class()
    mixed, same = mix(images, labels, 10, TrainingRecipe(), drawn(images))
    assert mixed is images
    assert same is labels
