"""The loss of a cascade equals sums written out by hand."""

import math

import pytest
import torch
from torch import Tensor

from dvt.training.loss import cascade_loss

# Two exits, two images, three classes.
EXITS = [[[2.0, 0.0, -1.0], [0.5, 0.5, 0.0]], [[3.0, 1.0, 0.0], [-1.0, 2.0, 0.0]]]
LABELS = [0, 1]


def log_probabilities(logits: list[float]) -> list[float]:
    norm = math.log(sum(math.exp(value) for value in logits))
    return [value - norm for value in logits]


def cross_entropy(exit_index: int, smoothing: float = 0.0) -> float:
    total = 0.0
    for logits, label in zip(EXITS[exit_index], LABELS, strict=True):
        logs = log_probabilities(logits)
        total -= (1 - smoothing) * logs[label] + smoothing * sum(logs) / 3
    return total / 2


def divergence_from_last() -> float:
    """Mean over images of sum p_last * (log p_last - log p_first)."""
    total = 0.0
    for first, last in zip(*EXITS, strict=True):
        student, teacher = log_probabilities(first), log_probabilities(last)
        total += sum(math.exp(t) * (t - s) for s, t in zip(student, teacher, strict=True))
    return total / 2


def tensors(requires_grad: bool = False) -> list[Tensor]:
    return [torch.tensor(logits, requires_grad=requires_grad) for logits in EXITS]


def test_without_distillation_the_loss_is_the_sum_over_exits() -> None:
    loss = cascade_loss(tensors(), torch.tensor(LABELS))
    assert loss.item() == pytest.approx(cross_entropy(0) + cross_entropy(1), abs=1e-6)


def test_label_smoothing_spreads_its_mass_over_all_classes() -> None:
    loss = cascade_loss(tensors(), torch.tensor(LABELS), label_smoothing=0.3)
    assert loss.item() == pytest.approx(cross_entropy(0, 0.3) + cross_entropy(1, 0.3), abs=1e-6)


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_an_earlier_exit_learns_from_labels_and_the_last_exit(weight: float) -> None:
    loss = cascade_loss(tensors(), torch.tensor(LABELS), distillation_weight=weight)
    expected = cross_entropy(1) + (1 - weight) * cross_entropy(0) + weight * divergence_from_last()
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_the_teacher_gets_no_gradient() -> None:
    gradients = []
    for weight in (0.0, 0.5):
        first, last = tensors(requires_grad=True)
        cascade_loss([first, last], torch.tensor(LABELS), distillation_weight=weight).backward()
        assert first.grad is not None
        assert last.grad is not None
        gradients.append((first.grad, last.grad))
    assert torch.equal(gradients[0][1], gradients[1][1])
    assert not torch.allclose(gradients[0][0], gradients[1][0])


def test_the_loss_is_float32_also_for_16_bit_logits() -> None:
    halved = [logits.bfloat16() for logits in tensors()]
    loss = cascade_loss(halved, torch.tensor(LABELS), 0.5, 0.1)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(
        cascade_loss(tensors(), torch.tensor(LABELS), 0.5, 0.1).item(), abs=0.02
    )


def test_one_exit_has_no_teacher() -> None:
    loss = cascade_loss(tensors()[1:], torch.tensor(LABELS), distillation_weight=0.5)
    assert loss.item() == pytest.approx(cross_entropy(1), abs=1e-6)
