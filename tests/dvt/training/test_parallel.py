"""Processes that share a batch treat their images as one process would."""

import pytest
import torch
from torch import Tensor

from dvt.training import DataParallel, TrainingRecipe
from dvt.training.augment import augment
from dvt.training.batch_rng import BatchRng
from dvt.training.mixing import mix

EVERYTHING = TrainingRecipe(shift=2, scale_jitter=0.3, brightness_jitter=0.3, erase=0.3)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(11, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_local_slices_cover_the_batch_and_differ_by_at_most_one_image() -> None:
    shares = [DataParallel(rank, 4).local_slice(11) for rank in range(4)]
    assert [row for own in shares for row in range(11)[own]] == list(range(11))
    assert {len(range(11)[own]) for own in shares} == {2, 3}
    with pytest.raises(ValueError, match=r"at most the 3 images of a batch \(got 4\)"):
        DataParallel(0, 4).local_slice(3)


def test_a_process_augments_its_images_as_one_process_would(images: Tensor) -> None:
    generator = seeded()
    whole = augment(images, EVERYTHING, BatchRng(generator, 11))
    after = torch.rand(3, generator=generator)
    for rank in range(3):
        own, generator = DataParallel(rank, 3).local_slice(11), seeded()
        part = augment(images[own], EVERYTHING, BatchRng(generator, 11, own))
        torch.testing.assert_close(part, whole[own], rtol=0, atol=1e-6)
        assert torch.equal(torch.rand(3, generator=generator), after), "in the same state"


@pytest.mark.parametrize("alphas", [{"mixup": 0.8}, {"cutmix": 1.0}])
def test_a_process_mixes_its_own_images_with_the_batchs_share(
    alphas: dict[str, float], images: Tensor
) -> None:
    recipe = TrainingRecipe.model_validate(alphas)
    labels = torch.arange(11)
    _, whole = mix(images, labels, 11, recipe, BatchRng(seeded(), 11))
    own = slice(4, 8)
    mixed, shares = mix(images[own], labels[own], 11, recipe, BatchRng(seeded(), 11, own))
    assert mixed.shape == (4, 3, 16, 16)
    assert shares[:, own].sum(dim=1).tolist() == pytest.approx([1.0] * 4), "only own classes"
    assert set(shares.unique().tolist()) <= set(whole.unique().tolist())
