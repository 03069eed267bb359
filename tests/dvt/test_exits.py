"""The exit rule: confidence in float32, validated thresholds, a last exit for the rest."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import dvt
from dvt.exits import (
    ALWAYS_EXIT,
    FULL_DEPTH,
    GROUP_FLOOR,
    confidence,
    exit_mask,
    exit_thresholds,
    group_scores,
    scores,
)
from dvt.labels import ClassGroups


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


def some_scores(seed: int, num_images: int, num_classes: int, sharpness: float = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scores(torch.randn(num_images, num_classes, generator=generator) * sharpness)


def some_groups(seed: int, num_classes: int) -> ClassGroups:
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(5, num_classes, generator=generator) < 0.4
    return ClassGroups.of(
        num_classes,
        {f"g{n}": draw.nonzero()[:, 0].tolist() for n, draw in enumerate(draws) if draw.any()}
        | {"all": range(num_classes)},
    )


def test_the_label_lies_in_the_part_that_the_image_is_sure_of() -> None:
    """Class 0 is the most probable one, but its part has 0.4 only."""
    probabilities = torch.tensor([[0.4, 0.25, 0.05, 0.3]])
    signal, label = confidence(probabilities, torch.tensor([0, 1, 2, 1]))
    assert signal.item() == pytest.approx(0.55)
    assert label.item() == 3


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(2, 40))
def test_the_signal_is_the_largest_sum_of_a_part(
    seed: int, num_images: int, num_classes: int
) -> None:
    scores_nC = some_scores(seed, num_images, num_classes)
    part_ids = some_groups(seed, num_classes).part_ids()
    signal_n, label_n = confidence(scores_nC, torch.tensor(part_ids))
    for row, signal, label in zip(scores_nC.tolist(), signal_n, label_n.tolist(), strict=True):
        sums = {
            part: math.fsum(p for p, of in zip(row, part_ids, strict=True) if of == part)
            for part in part_ids
        }
        assert signal.item() == pytest.approx(max(sums.values()), abs=1e-7)
        assert sums[part_ids[label]] == pytest.approx(max(sums.values()), abs=1e-7)
        in_part = [p for p, of in zip(row, part_ids, strict=True) if of == part_ids[label]]
        assert row[label] == max(in_part)
        assert signal >= max(row)


@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(2, 40))
def test_sums_have_the_same_bits_in_any_batch_and_order(
    seed: int, num_images: int, num_classes: int
) -> None:
    scores_nC = some_scores(seed, num_images, num_classes, sharpness=1)
    groups = some_groups(seed, num_classes)
    parts, membership = torch.tensor(groups.part_ids()), groups.membership()
    whole = group_scores(scores_nC, membership), confidence(scores_nC, parts)[0]
    order = torch.randperm(num_classes, generator=torch.Generator().manual_seed(seed))
    for row in range(num_images):
        alone = scores_nC[row : row + 1]
        assert torch.equal(group_scores(alone, membership)[0], whole[0][row])
        assert torch.equal(group_scores(alone[:, order], membership[order])[0], whole[0][row])
        assert torch.equal(confidence(alone, parts)[0][0], whole[1][row])


@given(st.integers(0, 10**6), st.integers(2, 40))
def test_a_group_scores_no_less_than_its_subsets_and_nothing_below_the_floor(
    seed: int, num_classes: int
) -> None:
    scores_nC = some_scores(seed, 5, num_classes)
    groups = some_groups(seed, num_classes)
    found = group_scores(scores_nC, groups.membership())
    assert found.dtype == torch.float32
    assert ((found == 0) | ((found >= GROUP_FLOOR) & (found <= 1))).all()
    for number, group in enumerate(groups.groups):
        for other, larger in enumerate(groups.groups):
            if set(group.class_ids) <= set(larger.class_ids):
                assert (found[:, number] <= found[:, other]).all()
    assert found[:, -1].tolist() == pytest.approx([1] * 5, abs=1e-6)
