"""Curves: the reference's sweep, cross-fitted, and read off at a budget."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dvt.calibration import (
    SWEEP_POSITIONS,
    RecordedExits,
    evaluate_thresholds,
    sweep_thresholds,
)
from jobs.evaluation.curves import (
    accuracy_at,
    budgets_for,
    cross_fitted_sweep,
    evaluate_rows,
    sweep_rows,
)

Scores = Callable[[int], tuple[NDArray[np.float32], NDArray[np.int64]]]


def recorded(
    confidences: NDArray[np.float32],
    correct: NDArray[np.bool_],
    in_second_half: NDArray[np.bool_],
) -> RecordedExits:
    agrees = np.ones_like(correct)
    return RecordedExits(confidences, agrees, correct, in_second_half, "abcd", "float32", "some")


def recorded_scores(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> RecordedExits:
    halves = np.random.default_rng(0).random(len(labels)) < 0.5
    return recorded(scores.max(axis=2), scores.argmax(axis=2) == labels, halves)


def test_fitted_to_other_data_it_is_the_golden_sweep(
    golden_sweep: dict[str, Any], golden_scores: Scores
) -> None:
    rows = sweep_rows(recorded_scores(*golden_scores(10)))
    points = evaluate_rows(
        recorded_scores(*golden_scores(11)), rows, golden_sweep["gmacs_per_exit"]
    )
    assert len(points) == 59
    for row in golden_sweep["sweep"]:
        point = points[row["p"] - 1]
        assert point.thresholds == pytest.approx(row["thresholds"][:2], abs=1e-6)
        assert 100 * point.accuracy == pytest.approx(row["accuracy"], abs=1e-9)
        assert point.gmacs == pytest.approx(row["gmacs"], abs=1e-6)


def test_cross_fitting_evaluates_each_image_once_by_the_other_halfs_thresholds(
    golden_scores: Scores,
) -> None:
    record, costs = recorded_scores(*golden_scores(10)), (0.47, 1.46, 3.5)
    one, other = record.halves()
    assert one.num_images + other.num_images == record.num_images == 2000
    points = cross_fitted_sweep(record, costs)
    for position, point in zip(SWEEP_POSITIONS, points, strict=True):
        assert point.thresholds == sweep_thresholds(record.confidences, position)
        right = spent = 0.0
        for judge, fit in ((one, other), (other, one)):
            thresholds = sweep_thresholds(fit.confidences, position)
            correct = judge.right("accuracy")
            part = evaluate_thresholds(judge.confidences, correct, thresholds, costs)
            right += part.accuracy * judge.num_images
            spent += part.gmacs * judge.num_images
        assert point.accuracy == pytest.approx(right / 2000)
        assert point.gmacs == pytest.approx(spent / 2000)
        assert sum(point.exits) == 2000


def test_fitting_to_the_evaluated_images_meets_its_budget_too_well(golden_scores: Scores) -> None:
    """The reason for cross-fitting: shares are exact on the images that they were fitted to."""
    record = recorded_scores(*golden_scores(10))
    same = evaluate_rows(record, sweep_rows(record), (0.0, 1.0, 2.0))
    crossed = cross_fitted_sweep(record, (0.0, 1.0, 2.0))
    assert [point.exits for point in same] != [point.exits for point in crossed]
    assert [point.thresholds for point in same] == [point.thresholds for point in crossed]


def test_an_empty_half_gives_no_curve() -> None:
    confidences = np.full((3, 4), 0.5, dtype=np.float32)
    record = recorded(confidences, confidences > 0, np.ones(4, dtype=np.bool_))
    assert cross_fitted_sweep(record, (1.0, 2.0, 3.0)) == ()


def test_given_thresholds_are_evaluated_as_they_are() -> None:
    """Three images, confident 0.9, 0.5, 0.1 at exit 1; at 0.5 two leave there."""
    confidences = np.array([[0.9, 0.5, 0.1], [0.9, 0.9, 0.9]], dtype=np.float32)
    correct = np.array([[True, False, False], [True, True, True]])
    record = recorded(confidences, correct, np.zeros(3, dtype=np.bool_))
    (point,) = evaluate_rows(record, [(0.5,)], (1.0, 4.0))
    assert (point.exits, point.gmacs) == ((2, 1), 2.0)
    assert point.accuracy == pytest.approx(2 / 3)


def test_between_two_points_accuracy_is_interpolated_and_beyond_the_ends_there_is_none() -> None:
    """1.2 G lies a fifth of the way from 1.0 G (70 %) to 2.0 G (80 %): 72 %."""
    curve = ((2.0, 0.80), (1.0, 0.70), (3.0, 0.82))
    assert accuracy_at(curve, 1.2) == pytest.approx(0.72)
    assert accuracy_at(curve, 1.0) == pytest.approx(0.70)
    assert accuracy_at(curve, 3.0) == pytest.approx(0.82)
    assert accuracy_at(curve, 0.99) is None
    assert accuracy_at(curve, 3.01) is None


def test_the_papers_models_are_compared_at_its_budgets_others_evenly() -> None:
    assert budgets_for("dvt_t2t_vit_12", (0.47, 1.46, 3.5))[:2] == (0.75, 1.0)
    assert budgets_for("mine", (1.0, 3.0, 8.0)) == pytest.approx((2.0, 3.0, 4.0, 5.0, 6.0, 7.0))
