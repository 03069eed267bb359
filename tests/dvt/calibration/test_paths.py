"""Paths go from full depth to the first exit, and the better one is found."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from dvt.calibration import (
    RecordedExits,
    Thresholds,
    cheapest_path,
    mean_gmacs,
    swept_path,
    uniform_path,
)
from dvt.exits import FULL_DEPTH
from tests.dvt.calibration.simulated import recorded_exits, simulated_exits, simulated_record

GMACS = (1.0, 3.0, 8.0)
Exits = NDArray[np.float32]


@pytest.mark.parametrize("path_of", [uniform_path, swept_path])
@pytest.mark.parametrize("sharpness", [(2.0, 3.2), (2.0, 2.6, 3.2), (1.8, 2.2, 2.7, 3.2)])
def test_a_path_is_nested_and_cheaper_with_small_steps_down_to_the_first_exit(
    path_of: Callable[[Exits], list[Thresholds]], sharpness: tuple[float, ...]
) -> None:
    confidences, _, _ = simulated_exits(1, 3000, sharpness)
    gmacs = tuple(2.0**exit_index for exit_index in range(len(sharpness)))
    path = path_of(confidences)
    assert path[0] == (FULL_DEPTH,) * (len(sharpness) - 1)
    assert (np.diff(np.array(path), axis=0) <= 0).all()
    costs = np.array([mean_gmacs(confidences, row, gmacs) for row in path])
    assert costs[0] == gmacs[-1]
    assert costs[-1] < 1.02 * gmacs[0]
    assert (np.diff(costs) <= 0).all()
    assert (costs[:-1] / costs[1:]).max() < 1.08


def loss(row: Thresholds, record: RecordedExits) -> float:
    return float(record.losses(row, "agreement").mean())


def cheapest_within(path: list[Thresholds], record: RecordedExits) -> float:
    """Cost where a walk down the path has lost 2 %."""
    cost = GMACS[-1]
    for row in path:
        if loss(row, record) > 0.02:
            break
        cost = mean_gmacs(record.confidences, row, GMACS)
    return cost


def test_one_threshold_is_cheapest_where_exits_are_calibrated_alike_and_the_sweep_where_not() -> (
    None
):
    """Raising the confidences of exit 1 changes no rank, but makes one threshold useless."""
    record = simulated_record(3, 4000, "agreement")
    overconfident = record.confidences.copy()
    overconfident[0] = overconfident[0] ** 0.02
    for exits, expected in ((record.confidences, uniform_path), (overconfident, swept_path)):
        biased = recorded_exits(exits, record.agrees, "agreement")
        chosen = cheapest_path(exits, GMACS, partial(loss, record=biased), 0.02)
        assert chosen == expected(exits)
        costs = [cheapest_within(path(exits), biased) for path in (uniform_path, swept_path)]
        assert cheapest_within(chosen, biased) == min(costs) < max(costs)
