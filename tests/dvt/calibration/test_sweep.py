"""The sweep is the reference's, budgets are met, and evaluation obeys the exit rule."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from dvt.calibration import (
    SWEEP_POSITIONS,
    evaluate_thresholds,
    exit_shares,
    mean_gmacs,
    sweep_thresholds,
    thresholds_for_budget,
)
from dvt.errors import ModelError
from dvt.exits import FULL_DEPTH
from tests.dvt.calibration.simulated import simulated_exits

Scores = tuple[NDArray[np.float32], NDArray[np.int64]]


def exits_of(scores: Scores) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Confidences and correctness [E, n] of scores [E, n, classes] and labels [n]."""
    values, labels = scores
    return values.max(axis=2), values.argmax(axis=2) == labels


def test_every_row_of_the_reference_sweep_is_met(
    golden_sweep: dict[str, Any], golden_scores: Callable[[int], Scores]
) -> None:
    fitted, _ = exits_of(golden_scores(10))
    confidences, correct = exits_of(golden_scores(11))
    gmacs_per_exit = golden_sweep["gmacs_per_exit"]
    assert len(golden_sweep["sweep"]) == 7
    for row in golden_sweep["sweep"]:
        position = row["p"]
        assert exit_shares(position, 3) == pytest.approx(row["shares"], abs=1e-6)
        thresholds = sweep_thresholds(fitted, position)
        assert thresholds == pytest.approx(row["thresholds"][:2], abs=1e-6)
        point = evaluate_thresholds(confidences, correct, thresholds, gmacs_per_exit)
        assert 100 * point.accuracy == pytest.approx(row["accuracy"], abs=1e-9)
        assert point.gmacs == pytest.approx(row["gmacs"], abs=1e-6)
        with_placeholder = evaluate_thresholds(
            confidences, correct, row["thresholds"], gmacs_per_exit
        )
        assert with_placeholder.exits == point.exits


def test_the_sweep_has_59_positions() -> None:
    assert list(SWEEP_POSITIONS) == list(range(1, 60))


@st.composite
def exits(
    draw: st.DrawFn,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], list[float], list[float]]:
    """Confidences with ties, correctness, thresholds and ascending costs of 1 to 4 exits."""
    num_exits, num_images = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    confidences = (random.integers(0, 8, (num_exits, num_images)) / 8).astype(np.float32)
    correct = random.random((num_exits, num_images)) < 0.7
    thresholds = [draw(st.sampled_from([0.0, 0.25, 0.3, 0.875, 2.0])) for _ in range(num_exits - 1)]
    costs = np.cumsum(random.random(num_exits) + 0.01).tolist()
    return confidences, correct, thresholds, costs


@given(case=exits())
def test_every_image_is_counted_once_at_its_first_confident_exit(
    case: tuple[NDArray[np.float32], NDArray[np.bool_], list[float], list[float]],
) -> None:
    confidences, correct, thresholds, costs = case
    num_exits, num_images = confidences.shape
    point = evaluate_thresholds(confidences, correct, thresholds, costs)
    expected_exits, hits, spent = [0] * num_exits, 0, 0.0
    for image in range(num_images):
        leaves = next(
            exit_index
            for exit_index, limit in enumerate([*thresholds, -np.inf])
            if confidences[exit_index, image] >= limit
        )
        expected_exits[leaves] += 1
        hits += int(correct[leaves, image])
        spent += costs[leaves]
    assert list(point.exits) == expected_exits
    assert sum(point.exits) == num_images
    assert point.accuracy == pytest.approx(hits / num_images)
    assert point.gmacs == pytest.approx(spent / num_images)
    assert costs[0] - 1e-9 <= point.gmacs <= costs[-1] + 1e-9
    assert point.thresholds == tuple(thresholds)


@given(
    position=st.integers(1, 59),
    num_exits=st.integers(1, 4),
    num_images=st.integers(1, 80),
    seed=st.integers(0, 2**32),
)
def test_on_the_data_it_was_fitted_on_the_sweep_gives_every_exit_its_share(
    position: int, num_exits: int, num_images: int, seed: int
) -> None:
    """Without ties, floor(n * share) images leave at each exit but the last."""
    random = np.random.default_rng(seed)
    ranks = np.stack([random.permutation(num_images) for _ in range(num_exits)])
    confidences = ((ranks + 1) / (num_images + 1)).astype(np.float32)
    thresholds = sweep_thresholds(confidences, position)
    assert len(thresholds) == num_exits - 1
    point = evaluate_thresholds(confidences, confidences > 0, thresholds, [1.0] * num_exits)
    wanted = [int(num_images * share) for share in exit_shares(position, num_exits)[:-1]]
    assert list(point.exits[:-1]) == wanted


def test_nobody_leaves_where_the_share_is_less_than_one_image() -> None:
    """Position 1 sends 95 % to exit 1, 4.75 % to exit 2: of 10 images 9 and 0."""
    confidences = np.linspace(0.1, 1.0, 10, dtype=np.float32) * np.ones((3, 1), dtype=np.float32)
    thresholds = sweep_thresholds(confidences, 1)
    assert thresholds[1] > 1
    point = evaluate_thresholds(confidences, confidences > 0, thresholds, [1.0, 2.0, 3.0])
    assert point.exits == (9, 0, 1)


def test_deeper_positions_cost_more(golden_scores: Callable[[int], Scores]) -> None:
    confidences, correct = exits_of(golden_scores(10))
    costs = [
        evaluate_thresholds(
            confidences, correct, sweep_thresholds(confidences, position), [0.47, 1.46, 3.5]
        ).gmacs
        for position in SWEEP_POSITIONS
    ]
    assert costs == sorted(costs)


@pytest.mark.parametrize(
    ("sharpness", "gmacs"),
    [
        ((2.0, 3.2), (1.0, 4.0)),
        ((2.0, 2.6, 3.2), (1.0, 3.0, 8.0)),
        ((1.8, 2.2, 2.7, 3.2), (1.0, 2.0, 4.0, 8.0)),
    ],
)
def test_a_budget_is_spent_to_the_last_few_images_and_never_exceeded(
    sharpness: tuple[float, ...], gmacs: tuple[float, ...]
) -> None:
    confidences, _, _ = simulated_exits(5, 2000, sharpness)
    for budget in np.linspace(1.0, gmacs[-1], 30):
        thresholds = thresholds_for_budget(confidences, gmacs, float(budget))
        spent = mean_gmacs(confidences, thresholds, gmacs)
        assert budget - 3 * gmacs[-1] / 2000 <= spent <= budget * (1 + 1e-9)


def test_the_cost_of_a_position_buys_as_good_answers_as_the_position() -> None:
    confidences, correct, _ = simulated_exits(6, 2000)
    for position in SWEEP_POSITIONS:
        row = sweep_thresholds(confidences, position)
        swept = evaluate_thresholds(confidences, correct, row, (1.0, 3.0, 8.0))
        bought = thresholds_for_budget(confidences, (1.0, 3.0, 8.0), swept.gmacs)
        point = evaluate_thresholds(confidences, correct, bought, (1.0, 3.0, 8.0))
        assert point.accuracy == pytest.approx(swept.accuracy, abs=2 / 2000)


def test_a_budget_below_the_first_exit_is_refused_and_one_above_the_last_buys_full_depth() -> None:
    confidences, _, _ = simulated_exits(3, 100)
    gmacs = (1.0, 3.0, 8.0)
    with pytest.raises(ModelError, match=r"^budget: must be at least .* 1 GMACs \(got 0.9\)$"):
        thresholds_for_budget(confidences, gmacs, 0.9)
    cheapest = thresholds_for_budget(confidences, gmacs, 1.0)
    assert mean_gmacs(confidences, cheapest, gmacs) == 1.0
    assert thresholds_for_budget(confidences, gmacs, 9.0) == (FULL_DEPTH, FULL_DEPTH)
