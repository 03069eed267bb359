"""The exit rule: confidence in float32, validated thresholds, a last exit for the rest."""

import pytest
import torch

import dvt
from dvt.exits import (
    ALWAYS_EXIT,
    FULL_DEPTH,
    confidence,
    exit_mask,
    exit_thresholds,
    scores,
)


def test_confidence_is_the_largest_softmax_probability_and_its_label() -> None:
    """Logits 0 and log 3 give 1/4 and 3/4."""
    logits = torch.tensor([[1.0, 3.0], [3.0, 1.0]]).log()
    confidences, labels = confidence(scores(logits))
    assert scores(logits)[0].tolist() == pytest.approx([0.25, 0.75])
    assert confidences.tolist() == pytest.approx([0.75, 0.75])
    assert labels.tolist() == [1, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_confidence_is_computed_in_float32(dtype: torch.dtype) -> None:
    """9.5 against 0 is 0.999925, which rounds to 1 in 16 bits."""
    confidences, _ = confidence(scores(torch.tensor([[9.5, 0.0]], dtype=dtype)))
    assert confidences.dtype == torch.float32
    assert confidences.item() == pytest.approx(0.9999251, abs=1e-7)


@pytest.mark.parametrize("values", [(0.7, 0.5), (0.7, 0.5, -1e8), (0.7, 0.5, float("nan"))])
def test_a_value_for_the_last_exit_is_ignored(values: tuple[float, ...]) -> None:
    assert exit_thresholds(values, 3) == (0.7, 0.5)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_wrong_number_of_thresholds_is_refused_in_one_line(count: int) -> None:
    with pytest.raises(dvt.ModelError) as caught:
        exit_thresholds([0.5] * count, 3)
    assert str(caught.value) == (
        "thresholds: a cascade of 3 stages takes 2 values, one for each exit but the last "
        f"(got {count})"
    )


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_threshold_that_is_not_finite_is_refused_in_one_line(value: str) -> None:
    with pytest.raises(dvt.ModelError, match=rf"^thresholds: must be finite .* \(got {value}\)$"):
        exit_thresholds([0.5, float(value)], 3)


def test_a_confidence_that_is_nan_is_refused() -> None:
    """NaN reaches no threshold, not even the last: the image would never exit."""
    with pytest.raises(dvt.ModelError, match=r"^confidence: is not a number"):
        exit_mask(torch.tensor([0.5, float("nan")]), ALWAYS_EXIT)


def test_one_stage_needs_no_thresholds() -> None:
    assert exit_thresholds([], 1) == ()


def test_an_image_exits_when_its_confidence_equals_the_threshold() -> None:
    confidences = torch.tensor([0.3, 0.30000001, 0.29999998, 1.0])
    assert exit_mask(confidences, 0.3).tolist() == [True, True, False, True]
    assert exit_mask(confidences, FULL_DEPTH).tolist() == [False] * 4
    assert exit_mask(confidences, ALWAYS_EXIT).tolist() == [True] * 4
