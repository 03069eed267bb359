"""Threshold schedules: nested threshold sets, from full depth to the cheapest that is allowed.

A run with a deadline moves along a schedule. No threshold of a set is above that of the set before
it, so "not looser than the last set" is well defined at each exit.

A bound on a schedule holds for every policy that moves along it: an image may pass its first exit
under one set and its second under another, and the policy may depend on the images. So the bound is
on the worst case: an image counts as lost as soon as *any* exit that is confident enough for the
last set would answer worse than full depth. Every policy whose thresholds are at least those of the
last set loses at most these images.

Source of the test: see `learn_then_test`. Shapes: E exits, n images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from dvt.calibration.bounds import binomial_p_value
from dvt.calibration.learn_then_test import check_sample_size
from dvt.calibration.paths import cheapest_path
from dvt.calibration.points import Thresholds, exits_taken, mean_gmacs
from dvt.calibration.recorded_exits import RecordedExits
from dvt.errors import ModelError

__all__ = [
    "ThresholdSchedule",
    "ThresholdSet",
    "certified_schedule",
    "schedule_above_floor",
    "share_lost_at_worst",
    "threshold_sets",
]

_MOST_SETS = 48


@dataclass(frozen=True, slots=True)
class ThresholdSet:
    """Thresholds, and what they gave on the held-out images.

    Attributes:
        thresholds: one for each exit but the last.
        gmacs: mean cost of an image.
        goes_on: for each exit but the last, the share of the images reaching it that go on.
    """

    thresholds: Thresholds
    gmacs: float
    goes_on: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ThresholdSchedule:
    """Nested threshold sets, from full depth to the cheapest that is allowed."""

    threshold_sets: tuple[ThresholdSet, ...]

    @property
    def loosest(self) -> Thresholds:
        """Thresholds that no policy goes below."""
        return self.threshold_sets[-1].thresholds


def certified_schedule(
    recorded: RecordedExits, gmacs_per_exit: Sequence[float], epsilon: float, delta: float
) -> ThresholdSchedule:
    """A schedule on which no policy loses more than epsilon, with probability 1 - delta.

    The risk is accuracy where the images have labels, else agreement. The exact binomial test
    serves both, since an image can only be lost.

    Args:
        recorded: exits on held-out images.
        gmacs_per_exit: cumulative cost of each exit, [E].
        epsilon: bound, above 0 and below 1.
        delta: probability that it may fail, above 0 and below 1.

    Raises:
        ModelError: there are too few images to prove it.
    """
    first, second = check_sample_size(recorded, "agreement", epsilon, delta)

    def is_proved(thresholds: Thresholds) -> bool:
        num_lost = round(share_lost_at_worst(second, thresholds) * second.num_images)
        return binomial_p_value(num_lost, second.num_images, epsilon) <= delta

    allowed = list(takewhile(is_proved, _path(first, gmacs_per_exit, epsilon)))
    return ThresholdSchedule(threshold_sets(allowed, recorded.confidences, gmacs_per_exit))


def schedule_above_floor(
    recorded: RecordedExits, gmacs_per_exit: Sequence[float], floor: float
) -> ThresholdSchedule:
    """A schedule on which every policy is expected to keep this accuracy.

    Without labels it is agreement with the last exit that is kept.

    Args:
        recorded: exits on held-out images.
        gmacs_per_exit: cumulative cost of each exit, [E].
        floor: smallest accuracy, as a fraction.

    Raises:
        ModelError: not even full depth has that accuracy, or there are too few images.
    """
    first, second = recorded.halves()
    if not first.num_images or not second.num_images:
        raise ModelError(f"floor: {recorded.num_images} held-out images are too few for it")
    full_depth = float(second.right(second.risk)[-1].mean())
    if full_depth < floor:
        raise ModelError(
            f"floor: must be at most full depth's {second.risk} on the second half of "
            f"{recorded.data}, {100 * full_depth:.2f} % (got {100 * floor:g} %)"
        )

    def keeps_floor(thresholds: Thresholds) -> bool:
        return full_depth - share_lost_at_worst(second, thresholds) >= floor

    allowed = list(takewhile(keeps_floor, _path(first, gmacs_per_exit, full_depth - floor)))
    return ThresholdSchedule(threshold_sets(allowed, recorded.confidences, gmacs_per_exit))


def share_lost_at_worst(recorded: RecordedExits, thresholds: Thresholds) -> float:
    """Share of the images that a policy with at least these thresholds can lose."""
    right_En = recorded.right(recorded.risk)
    may_leave = recorded.confidences[:-1] >= np.array(thresholds)[:, None]
    return float((may_leave & ~right_En[:-1] & right_En[-1]).any(axis=0).mean())


def threshold_sets(
    path: Sequence[Thresholds],
    confidences_En: NDArray[np.float32],
    gmacs_per_exit: Sequence[float],
    most: int = _MOST_SETS,
) -> tuple[ThresholdSet, ...]:
    """Sets along a path, even ratios of cost apart, its ends included.

    Args:
        path: nested thresholds, from the dearest to the cheapest.
        confidences_En: of the images that give the figures of the sets.
        gmacs_per_exit: cumulative cost of each exit, [E].
        most: sets at most.
    """
    sets = [_threshold_set(row, confidences_En, gmacs_per_exit) for row in path]
    costs = np.array([each.gmacs for each in sets])
    wanted = np.geomspace(costs[0], costs[-1], most - 1)
    chosen = {int(np.abs(costs - cost).argmin()) for cost in wanted[:-1]} | {0, len(path) - 1}
    return tuple(sets[index] for index in sorted(chosen))


def _path(
    first: RecordedExits, gmacs_per_exit: Sequence[float], max_loss: float
) -> list[Thresholds]:
    def loss(thresholds: Thresholds) -> float:
        return share_lost_at_worst(first, thresholds)

    return cheapest_path(first.confidences, gmacs_per_exit, loss, max_loss)


def _threshold_set(
    thresholds: Thresholds, confidences_En: NDArray[np.float32], gmacs_per_exit: Sequence[float]
) -> ThresholdSet:
    exits = np.bincount(exits_taken(confidences_En, thresholds), minlength=len(gmacs_per_exit))
    reached = np.cumsum(exits[::-1])[::-1]
    return ThresholdSet(
        thresholds,
        mean_gmacs(confidences_En, thresholds, gmacs_per_exit),
        tuple(float(share) for share in reached[1:] / np.maximum(reached[:-1], 1)),
    )
