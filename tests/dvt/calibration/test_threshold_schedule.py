"""Schedules are nested, and their bounds hold for every policy that moves along them."""

import numpy as np
import pytest

from dvt.calibration import (
    RecordedExits,
    Risk,
    ThresholdSet,
    binomial_p_value,
    certified_schedule,
    cheapest_path,
    schedule_above_floor,
    share_lost_at_worst,
    threshold_sets,
    uniform_path,
)
from dvt.calibration.threshold_schedule import ThresholdSchedule
from dvt.errors import ModelError
from dvt.exits import FULL_DEPTH
from tests.dvt.calibration.simulated import recorded_exits, simulated_exits, simulated_record

GMACS = (1.0, 3.0, 8.0)
EPSILON, DELTA = 0.03, 0.1


def are_nested(schedule: ThresholdSchedule) -> bool:
    rows = np.array([each.thresholds for each in schedule.threshold_sets])
    return bool((np.diff(rows, axis=0) <= 0).all())


def losses_of_random_policies(schedule: ThresholdSchedule, record: RecordedExits) -> list[float]:
    """Each image passes each exit under a set of its own."""
    rows = np.array([each.thresholds for each in schedule.threshold_sets])
    right, num_images = record.right(record.risk), record.num_images
    random, images = np.random.default_rng(3), np.arange(num_images)
    losses = []
    for _ in range(20):
        sets = random.integers(0, len(rows), (2, num_images))
        leaves = record.confidences[:-1] >= rows[sets, [[0], [1]]]
        exits = np.where(leaves.any(axis=0), leaves.argmax(axis=0), 2)
        losses.append(float((right[-1].astype(int) - right[exits, images]).mean()))
    return losses


@pytest.mark.parametrize("of", ["agreement", "accuracy"])
def test_no_policy_loses_more_than_the_worst_case(of: Risk) -> None:
    record = simulated_record(2, 3000, of)
    schedule = certified_schedule(record, GMACS, EPSILON, DELTA)
    assert are_nested(schedule)
    worst = share_lost_at_worst(record, schedule.loosest)
    assert max(losses_of_random_policies(schedule, record)) <= worst
    # A policy that knew which answers are wrong would reach the worst case.
    right = record.right(of)
    may_leave = record.confidences[:-1] >= np.array(schedule.loosest)[:, None]
    assert (may_leave & ~right[:-1] & right[-1]).any(axis=0).mean() == pytest.approx(worst)


@pytest.mark.parametrize("of", ["agreement", "accuracy"])
def test_the_bound_fails_no_more_often_than_delta(of: Risk) -> None:
    """30 samples: three failures are expected at most; nine or more would be a bug."""
    population = simulated_record(4, 200_000, of)
    failed = num_moving = 0
    for seed in range(30):
        schedule = certified_schedule(simulated_record(100 + seed, 3000, of), GMACS, EPSILON, DELTA)
        num_moving += len(schedule.threshold_sets) > 1
        failed += share_lost_at_worst(population, schedule.loosest) > EPSILON
    assert num_moving == 30
    assert failed <= 8


def test_a_certified_schedule_ends_before_the_first_thresholds_that_cannot_be_proved() -> None:
    record = simulated_record(5, 4000, "agreement")
    first, second = record.halves()
    schedule = certified_schedule(record, GMACS, EPSILON, DELTA)
    path = cheapest_path(
        first.confidences, GMACS, lambda row: share_lost_at_worst(first, row), EPSILON
    )
    p_values = [
        binomial_p_value(round(share_lost_at_worst(second, row) * 2000), 2000, EPSILON)
        for row in path
    ]
    last = path.index(schedule.loosest)
    assert max(p_values[: last + 1]) <= DELTA < p_values[last + 1]


def test_a_schedule_above_a_floor_ends_before_the_first_thresholds_that_could_fall_below_it() -> (
    None
):
    record = simulated_record(6, 6000, "accuracy")
    _, second = record.halves()
    full_depth = float(second.right("accuracy")[-1].mean())
    schedule = schedule_above_floor(record, GMACS, full_depth - 0.02)
    assert are_nested(schedule)
    assert len(schedule.threshold_sets) > 12
    assert 0.018 < share_lost_at_worst(second, schedule.loosest) <= 0.02
    assert max(losses_of_random_policies(schedule, second)) <= 0.02
    with pytest.raises(ModelError, match=r"^floor: must be at most full depth's accuracy"):
        schedule_above_floor(record, GMACS, full_depth + 0.01)


def test_a_floor_needs_images_in_both_halves() -> None:
    confidences, correct, _ = simulated_exits(6, 5)
    with pytest.raises(ModelError, match="5 held-out images are too few"):
        schedule_above_floor(recorded_exits(confidences, correct, "accuracy"), GMACS, 0.5)


def test_threshold_sets_are_even_ratios_of_cost_apart_and_give_the_shares_that_go_on() -> None:
    confidences, _, _ = simulated_exits(7, 3000)
    path = uniform_path(confidences)
    sets = threshold_sets(path, confidences, GMACS, most=24)
    assert 20 <= len(sets) <= 24
    assert (sets[0].thresholds, sets[-1].thresholds) == (path[0], path[-1])
    assert sets[0] == ThresholdSet((FULL_DEPTH, FULL_DEPTH), 8.0, (1.0, 1.0))
    costs = np.array([each.gmacs for each in sets])
    assert (costs[:-1] / costs[1:]).max() < 1.2
    for each in sets:
        first, second = each.goes_on
        assert each.gmacs == pytest.approx(1 + 2 * first + 5 * first * second)
