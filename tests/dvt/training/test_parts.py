"""Muon, weight average, drop path, batch normalisation and schedule, each alone."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import dvt
from dvt.training import TrainingRecipe
from dvt.training.batch_norm import add_batch_norm, fold_batch_norm
from dvt.training.batch_rng import BatchRng
from dvt.training.drop_path import add_drop_path
from dvt.training.ema import ExponentialMovingAverage
from dvt.training.muon import Muon, orthogonalise
from dvt.training.schedule import learning_rate_factor


def test_folding_batch_norm_does_not_change_the_logits(
    tiny_cascade: Callable[..., dvt.Cascade], random_images: Callable[..., Tensor]
) -> None:
    model = tiny_cascade(tokenizer="conv")
    config = model.config
    add_batch_norm(model)
    model.train()
    for seed in range(3):
        model(random_images(8, seed=seed) * 2 + 1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    model.eval()
    plain = dvt.Cascade(config).eval()
    plain.load_state_dict(fold_batch_norm(model.state_dict()), strict=True)
    images = random_images(4)
    with torch.inference_mode():
        for normed, bare in zip(model(images), plain(images), strict=True):
            torch.testing.assert_close(bare, normed, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tokenizer", ["patch", "t2t"])
def test_folding_does_not_change_models_without_stems(
    tokenizer: str, tiny_cascade: Callable[..., dvt.Cascade]
) -> None:
    model = tiny_cascade(tokenizer=tokenizer)
    before = copy.deepcopy(model.state_dict())
    add_batch_norm(model)
    after = fold_batch_norm(model.state_dict())
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (12, 12)])
def test_orthogonalise_keeps_singular_vectors_and_equalises_singular_values(
    shape: tuple[int, int],
) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert values.min() > 0.3
    assert values.max() < 1.3
    aligned = left.T @ orthogonalise(matrix) @ right.T
    torch.testing.assert_close(aligned, torch.diag(aligned.diag()), rtol=0, atol=1e-3)


def test_the_size_of_muons_update_does_not_depend_on_the_gradients_scale() -> None:
    """0.2 * sqrt(max side) times about-orthogonal: 0.2 a value (root mean square), as AdamW."""
    for scale in (1e-4, 1.0, 1e4):
        weight = nn.Parameter(torch.zeros(16, 4, 2, 2))
        weight.grad = torch.randn(16, 4, 2, 2, generator=torch.Generator().manual_seed(0)) * scale
        Muon([weight], lr=1.0, momentum=0.0).step()
        assert weight.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.2)


def test_the_average_follows_a_jump_at_its_decay() -> None:
    """Decay 0.5, after ten updates on 0 (past its own warmup): 1 becomes 0.5, then 0.75."""
    layer = nn.Linear(1, 1)
    nn.init.zeros_(layer.weight)
    average = ExponentialMovingAverage(layer, 0.5)
    for _ in range(10):
        average.update()
    nn.init.ones_(layer.weight)
    for expected in (0.5, 0.75):
        average.update()
        assert average.weights()["weight"].item() == pytest.approx(expected)


def test_the_average_forgets_initial_weights_quickly() -> None:
    """Decay 0.999, but 2/11 at the first step."""
    layer = nn.Linear(1, 1)
    nn.init.zeros_(layer.weight)
    average = ExponentialMovingAverage(layer, 0.999)
    nn.init.ones_(layer.weight)
    average.update()
    assert average.weights()["weight"].item() == pytest.approx(9 / 11)


def test_drop_path_drops_branches_of_images_in_training_only(
    tiny_cascade: Callable[..., dvt.Cascade], random_images: Callable[..., Tensor]
) -> None:
    model = tiny_cascade()
    images = random_images(64)
    with torch.inference_mode():
        before = model(images)[0]
        add_drop_path(model, 0.9, BatchRng(torch.Generator().manual_seed(0), 2000))
        assert torch.equal(model(images)[0], before)
        end = model.train().get_submodule("stages.0.blocks.1.fc2")
        assert isinstance(end, nn.Linear)
        branch = end(torch.ones(2000, 1, end.in_features))
    dropped = (branch == 0).all(dim=-1).squeeze(1)
    assert dropped.float().mean().item() == pytest.approx(0.9, abs=0.03)
    full = end.weight.sum(dim=1) + end.bias
    torch.testing.assert_close(branch[~dropped][0, 0], full / 0.1, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_rate_rises_to_the_peak_and_falls_to_the_floor(schedule: str) -> None:
    recipe = TrainingRecipe.model_validate(
        {
            "epochs": 10,
            "learning_rate": 0.1,
            "final_learning_rate": 0.01,
            "warmup_epochs": 2,
            "schedule": schedule,
        }
    )
    factors = [learning_rate_factor(step, 10, recipe) for step in range(101)]
    assert factors[:20] == sorted(factors[:20])
    assert factors[20] == 1.0
    assert factors[20:] == sorted(factors[20:], reverse=True)
    assert factors[60] == pytest.approx(0.55), "half way down, either way"
    assert factors[100] == pytest.approx(0.1)
