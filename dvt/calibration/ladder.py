"""Ladders of thresholds: from full depth down to the cheapest that are allowed, each threshold set nested.

A run that must end in time moves up and down such a ladder. A threshold set's thresholds are nowhere above
those of the threshold set before it, so "not looser than the last threshold set" is well defined, exit by exit.

What is proved of a ladder is proved of every policy on it. An image may pass its first exit under
one threshold set and its second under another, and the run may choose threshold sets by what it has seen. So the
loss that is tested is the worst of all of these: an image counts as lost as soon as *any* exit that
is confident enough for the last threshold set would answer worse than full depth. Every policy whose
thresholds are at least those of the last threshold set loses at most these images.

Sources as in `learn_then_test`. Shapes: E exits, n images, M threshold sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvt.calibration.bounds import binomial_p_value
from dvt.calibration.joint import JointSearch
from dvt.calibration.points import evaluate_thresholds
from dvt.exits import FULL_DEPTH

__all__ = [
    "ThresholdSet",
    "certified_rows",
    "nested_rows",
    "rows_above",
    "rungs_of",
    "share_lost_at_worst",
]

Floats = NDArray[np.float64]
Row = tuple[float, ...]

_MOST_CANDIDATES = 500


@dataclass(frozen=True, slots=True)
class ThresholdSet:
    """Thresholds, and what they gave on the held-out images.

    Attributes:
        thresholds: one for each exit but the last.
        gmacs: mean cost of an image.
        goes_on: of the images that reach each exit but the last, the share that does not leave.
    """

    thresholds: Row
    gmacs: float
    goes_on: tuple[float, ...]


def nested_rows(
    confidences_En: NDArray[np.float32],
    agrees_En: NDArray[np.bool_],
    right_En: NDArray[np.bool_],
    gmacs_per_exit: Sequence[float],
) -> list[Row]:
    """Full depth, and the longest nested chain on the front of cost and expected loss behind it.

    The front of accuracy ends where answers get no better, which may be far from full depth; what
    is dearer comes from the front of agreement.

    Args:
        confidences_En: largest softmax probability.
        agrees_En: whether each exit's answer is the last one's.
        right_En: what the loss is of: the same, or correctness.
        gmacs_per_exit: cumulative cost of leaving at each exit, [E].
    """
    rows = _front(confidences_En, right_En, gmacs_per_exit)
    if right_En is not agrees_En:
        dearer = _front(confidences_En, agrees_En, gmacs_per_exit)
        rows = [row for row in dearer if np.greater_equal(row, rows[0]).all()] + rows
    full_depth = (FULL_DEPTH,) * (len(gmacs_per_exit) - 1)
    chain = _longest_chain(np.array(rows))
    return chain if chain[0] == full_depth else [full_depth, *chain]


def certified_rows(
    rows: Sequence[Row],
    confidences_En: NDArray[np.float32],
    right_En: NDArray[np.bool_],
    epsilon: float,
    delta: float,
) -> list[Row]:
    """The rows, from the safest on, on which no policy loses more than epsilon, 1 - delta sure.

    Fixed-sequence testing with the exact binomial test; full depth loses nothing and is kept.

    Args:
        rows: nested, from the safest to the cheapest, found without the images below.
        confidences_En: of the images to test on.
        right_En: agreement with the last exit, or correctness.
        epsilon: above 0 and below 1.
        delta: above 0 and below 1.
    """
    num_images = confidences_En.shape[1]
    accepted = [rows[0]]
    for row in rows[1:]:
        num_lost = round(share_lost_at_worst(confidences_En, right_En, row) * num_images)
        if binomial_p_value(num_lost, num_images, epsilon) > delta:
            break
        accepted.append(row)
    return accepted


def rows_above(
    rows: Sequence[Row],
    confidences_En: NDArray[np.float32],
    right_En: NDArray[np.bool_],
    floor: float,
) -> list[Row]:
    """The rows, from the safest on, on which every policy keeps this share of right answers.

    Empty if not even full depth has that many.

    Args:
        rows: nested, from the safest to the cheapest, found without the images below.
        confidences_En: of the images to judge by.
        right_En: agreement with the last exit, or correctness.
        floor: least share.
    """
    kept = []
    full_depth = float(right_En[-1].mean())
    for row in rows:
        if full_depth - share_lost_at_worst(confidences_En, right_En, row) < floor:
            break
        kept.append(row)
    return kept


def share_lost_at_worst(
    confidences_En: NDArray[np.float32], right_En: NDArray[np.bool_], thresholds: Row
) -> float:
    """Share of images that any policy with at least these thresholds can lose."""
    may_leave = confidences_En[:-1] >= np.array(thresholds)[:, None]
    return float((may_leave & ~right_En[:-1] & right_En[-1]).any(axis=0).mean())


def rungs_of(
    rows: Sequence[Row],
    confidences_En: NDArray[np.float32],
    gmacs_per_exit: Sequence[float],
    most: int,
) -> tuple[ThresholdSet, ...]:
    """At most so many of the rows, even steps of cost apart, the first and the last included.

    The steps are ratios: what a run needs is to be so many percent faster.
    """
    all_rungs = [_rung(row, confidences_En, gmacs_per_exit) for row in rows]
    costs = np.array([threshold_set.gmacs for threshold_set in all_rungs])
    wanted = np.geomspace(costs[0], costs[-1], most - 1)
    chosen = {int(np.abs(costs - cost).argmin()) for cost in wanted[:-1]} | {0, len(rows) - 1}
    return tuple(all_rungs[index] for index in sorted(chosen))


def _rung(
    row: Row, confidences_En: NDArray[np.float32], gmacs_per_exit: Sequence[float]
) -> ThresholdSet:
    nobody = np.zeros(confidences_En.shape, dtype=np.bool_)
    point = evaluate_thresholds(confidences_En, nobody, row, gmacs_per_exit)
    reached = np.cumsum(point.exits[::-1])[::-1]
    goes_on = reached[1:] / np.maximum(reached[:-1], 1)
    return ThresholdSet(row, point.gmacs, tuple(float(share) for share in goes_on))


def _front(
    confidences_En: NDArray[np.float32],
    right_En: NDArray[np.bool_],
    gmacs_per_exit: Sequence[float],
) -> list[Row]:
    front = JointSearch(confidences_En, right_En, gmacs_per_exit).front(_MOST_CANDIDATES)
    return front[::-1]


def _longest_chain(rows_ME: Floats) -> list[Row]:
    """The longest subsequence in which no threshold ever rises."""
    num_rows = len(rows_ME)
    length, before = np.ones(num_rows, dtype=np.int64), np.full(num_rows, -1)
    for row in range(num_rows):
        safer = np.flatnonzero((rows_ME[:row] >= rows_ME[row]).all(axis=1))
        if len(safer):
            before[row] = safer[length[safer].argmax()]
            length[row] += length[before[row]]
    chain, row = [], int(length.argmax())
    while row >= 0:
        chain.append(tuple(float(value) for value in rows_ME[row]))
        row = int(before[row])
    return chain[::-1]
