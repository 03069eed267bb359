"""Temperatures and carried logits are the minimum of the cross-entropy."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dvt.calibration.temperature import fit_exit


def drawn(num: int, sharpness: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits [n, 10], and labels drawn from the scores of the logits times `sharpness`."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(num, 10, generator=generator)
    labels = torch.multinomial((sharpness * logits).softmax(1), 1, generator=generator)[:, 0]
    return logits, F.one_hot(labels, 10).float()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5, 8.0])
def test_the_temperature_of_the_labels_is_found(temperature: float) -> None:
    logits, targets = drawn(20_000, 1 / temperature)
    fit = fit_exit(logits, None, targets)
    assert fit.temperature == pytest.approx(temperature, rel=0.03)
    assert fit.carry == 0


def test_scores_of_another_exit_are_met_exactly() -> None:
    logits, _ = drawn(500, 1.0)
    fit = fit_exit(logits, None, (logits / 3).softmax(1))
    assert fit.temperature == pytest.approx(3, rel=1e-3)


def test_two_noisy_views_of_the_same_are_added() -> None:
    """Two logits with independent noise of equal variance deserve equal weights."""
    generator = torch.Generator().manual_seed(99)
    signal, targets = drawn(20_000, 1.0, seed=3)
    own, previous = (signal + 2 * torch.randn(signal.shape, generator=generator) for _ in range(2))
    fit = fit_exit(own, previous, targets)
    assert fit.carry == pytest.approx(1 / fit.temperature, rel=0.1)
    assert fit.cross_entropy < fit_exit(own, None, targets).cross_entropy - 0.1


def test_a_misleading_previous_exit_is_not_carried() -> None:
    logits, targets = drawn(5000, 1.0)
    assert fit_exit(logits, -logits, targets).carry == 0
    assert math.isfinite(fit_exit(logits, logits, targets).temperature)


@pytest.mark.parametrize("scale", [0.0, 1e3])
def test_logits_without_a_minimum_give_usable_numbers(scale: float) -> None:
    """All equal, or right with any certainty: the temperature stays within the allowed range."""
    labels = torch.arange(10).repeat(20)
    logits = scale * F.one_hot(labels, 10).float()
    fit = fit_exit(logits, None, F.one_hot(labels, 10).float())
    assert 0 < fit.temperature <= 100
