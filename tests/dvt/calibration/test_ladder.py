"""Ladders are nested, and what is proved of one holds for every way of moving on it."""

import itertools

import numpy as np
import pytest

from dvt.calibration import (
    ThresholdSet,
    binomial_p_value,
    certified_rows,
    evaluate_thresholds,
    nested_rows,
    rows_above,
    rungs_of,
    share_lost_at_worst,
)
from dvt.exits import FULL_DEPTH
from tests.dvt.calibration.simulated import simulated_exits

GMACS = (1.0, 3.0, 8.0)
EPSILON, DELTA = 0.03, 0.1


def are_nested(rows: list[tuple[float, ...]]) -> bool:
    return bool((np.diff(np.array(rows), axis=0) <= 0).all())


@pytest.mark.parametrize("of", ["agreement", "accuracy"])
def test_rows_begin_at_full_depth_and_never_rise(of: str) -> None:
    confidences, correct, agrees = simulated_exits(1, 3000)
    rows = nested_rows(confidences, agrees, agrees if of == "agreement" else correct, GMACS)
    assert rows[0] == (FULL_DEPTH, FULL_DEPTH)
    assert are_nested(rows)
    costs = [evaluate_thresholds(confidences, agrees, row, GMACS).gmacs for row in rows]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] < 0.5 * GMACS[-1]
    assert max(before / after for before, after in itertools.pairwise(costs)) < 1.25


@pytest.mark.parametrize("of", ["agreement", "accuracy"])
def test_no_way_of_moving_on_a_ladder_loses_more_than_its_worst_case(of: str) -> None:
    """Each image passes each exit under a threshold set of its own, chosen at random or against it."""
    confidences, correct, agrees = simulated_exits(2, 3000)
    right = agrees if of == "agreement" else correct
    rows = np.array(nested_rows(confidences, agrees, right, GMACS))
    rows = rows[: len(rows) // 2]
    worst = share_lost_at_worst(confidences, right, tuple(rows[-1]))
    random, images = np.random.default_rng(3), np.arange(3000)
    losses = []
    for _ in range(20):
        leaves = confidences[:-1] >= rows[random.integers(0, len(rows), (2, 3000)), [[0], [1]]]
        exits = np.where(leaves.any(axis=0), leaves.argmax(axis=0), 2)
        losses.append(float((right[-1].astype(int) - right[exits, images]).mean()))
    assert max(losses) <= worst
    # Whoever knew which images go wrong would reach it.
    wrong = (confidences[:-1] >= rows[-1][:, None]) & ~right[:-1] & right[-1]
    assert wrong.any(axis=0).mean() == pytest.approx(worst)


@pytest.mark.parametrize("of", ["agreement", "accuracy"])
def test_the_promise_is_broken_no_more_often_than_it_says(of: str) -> None:
    """30 held-out sets: three broken promises are to be expected at most, nine would be a bug."""
    population = simulated_exits(4, 200_000)
    truth = population[2] if of == "agreement" else population[1]
    broken = num_moving = 0
    for seed in range(30):
        confidences, correct, agrees = simulated_exits(100 + seed, 3000)
        right = agrees if of == "agreement" else correct
        first, second = slice(0, 1500), slice(1500, 3000)
        rows = nested_rows(confidences[:, first], agrees[:, first], right[:, first], GMACS)
        kept = certified_rows(rows, confidences[:, second], right[:, second], EPSILON, DELTA)
        num_moving += len(kept) > 1
        broken += share_lost_at_worst(population[0], truth, kept[-1]) > EPSILON
    assert num_moving == 30
    assert broken <= 8


def test_rows_end_where_one_cannot_be_proved_any_more() -> None:
    confidences, _, agrees = simulated_exits(5, 4000)
    rows = nested_rows(confidences[:, :2000], agrees[:, :2000], agrees[:, :2000], GMACS)
    test_on = confidences[:, 2000:], agrees[:, 2000:]
    kept = certified_rows(rows, *test_on, EPSILON, DELTA)
    assert kept == rows[: len(kept)]
    p_values = [
        binomial_p_value(round(share_lost_at_worst(*test_on, row) * 2000), 2000, EPSILON)
        for row in rows[1:]
    ]
    assert max(p_values[: len(kept) - 1]) <= DELTA < p_values[len(kept) - 1]


def test_rows_end_where_some_way_of_moving_on_them_would_be_below_the_floor() -> None:
    confidences, correct, agrees = simulated_exits(6, 3000)
    rows = nested_rows(confidences, agrees, correct, GMACS)
    full_depth = float(correct[-1].mean())
    kept = rows_above(rows, confidences, correct, full_depth - 0.02)
    assert 1 < len(kept) < len(rows)
    random, images = np.random.default_rng(7), np.arange(3000)
    for _ in range(20):
        leaves = (
            confidences[:-1] >= np.array(kept)[random.integers(0, len(kept), (2, 3000)), [[0], [1]]]
        )
        exits = np.where(leaves.any(axis=0), leaves.argmax(axis=0), 2)
        assert correct[exits, images].mean() >= full_depth - 0.02
    next_row = rows[len(kept)]
    assert share_lost_at_worst(confidences, correct, next_row) > 0.02
    assert rows_above(rows, confidences, correct, full_depth + 0.01) == []


def test_rungs_are_even_steps_apart_and_know_who_goes_on() -> None:
    confidences, _, agrees = simulated_exits(7, 3000)
    rows = nested_rows(confidences, agrees, agrees, GMACS)
    threshold_sets = rungs_of(rows, confidences, GMACS, most=24)
    assert 12 <= len(threshold_sets) <= 24
    assert (threshold_sets[0].thresholds, threshold_sets[-1].thresholds) == (rows[0], rows[-1])
    assert threshold_sets[0] == ThresholdSet((FULL_DEPTH, FULL_DEPTH), 8.0, (1.0, 1.0))
    assert are_nested([threshold_set.thresholds for threshold_set in threshold_sets])
    for threshold_set in threshold_sets:
        first, second = threshold_set.goes_on
        assert threshold_set.gmacs == pytest.approx(1 + 2 * first + 5 * first * second)


def test_two_exits_have_a_ladder_too() -> None:
    confidences, _, agrees = simulated_exits(8, 2000, sharpness=(2.0, 3.2))
    rows = nested_rows(confidences, agrees, agrees, (1.0, 4.0))
    assert len(rows) > 10
    assert are_nested(rows)
