"""Accuracy/cost curves of recorded exits, with thresholds from elsewhere or fitted to them.

Thresholds look better than they are on the images that they were fitted on. So what is fitted and
judged on the same data is cross-fitted: thresholds fitted on each half of the images are judged on
the other half, and every image counts once, under thresholds that have not seen it.
"""

from collections.abc import Callable, Sequence

import numpy as np

from dvt.calibration import (
    SWEEP_POSITIONS,
    JointSearch,
    OperatingPoint,
    evaluate_thresholds,
    sweep_thresholds,
)
from jobs.evaluation.exit_record import ExitRecord

__all__ = [
    "Curve",
    "accuracy_at",
    "budgets_for",
    "cross_fitted",
    "fitted",
    "joint_rows",
    "sweep",
    "sweep_rows",
]

Curve = Sequence[tuple[float, float]]
"""(GMACs, accuracy) of each point."""

Rows = Sequence[tuple[float, ...]]
Fit = Callable[[ExitRecord, Sequence[float]], Rows]

# Where the paper tells the accuracy of its cascades on ImageNet (DVT, section 4), GMACs.
_PAPER_BUDGETS = {
    "dvt_t2t_vit_12": (0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
    "dvt_t2t_vit_14": (2.0, 2.5, 3.0, 3.5, 4.0),
    "dvt_deit_small": (2.37, 2.90, 3.61, 4.63),
}
_NUM_BUDGETS = 6


def sweep(
    record: ExitRecord, thresholds: Sequence[Sequence[float]], gmacs_per_exit: Sequence[float]
) -> list[OperatingPoint]:
    """What each of these thresholds gives on the record."""
    return [
        evaluate_thresholds(record.confidences, record.correct, row, gmacs_per_exit)
        for row in thresholds
    ]


def sweep_rows(record: ExitRecord, gmacs_per_exit: Sequence[float]) -> Rows:
    """The reference's 59 rows of thresholds, fitted on these images; costs do not matter."""
    return [sweep_thresholds(record.confidences, position) for position in SWEEP_POSITIONS]


def joint_rows(record: ExitRecord, gmacs_per_exit: Sequence[float]) -> Rows:
    """Thresholds found jointly for the mean costs of the sweep's 59 rows on these images."""
    search = JointSearch(record.confidences, record.correct, gmacs_per_exit)
    budgets = sweep(record, sweep_rows(record, gmacs_per_exit), gmacs_per_exit)
    return [search.at_budget(point.gmacs) for point in budgets]


def fitted(
    fit: Fit, record: ExitRecord, fitted_on: ExitRecord, gmacs_per_exit: Sequence[float]
) -> list[OperatingPoint]:
    """A curve's 59 points, with thresholds fitted on other images than the record's."""
    return sweep(record, fit(fitted_on, gmacs_per_exit), gmacs_per_exit)


def cross_fitted(
    fit: Fit, record: ExitRecord, gmacs_per_exit: Sequence[float]
) -> list[OperatingPoint]:
    """A curve's 59 points, with thresholds fitted on the half that they are not judged on.

    Returns:
        Points whose figures are cross-fitted, and whose thresholds are those fitted on all images:
        the figures tell what these thresholds can be expected to do on other images. Empty if a
        half has no image.
    """
    halves = record.halves()
    if min(half.num_images for half in halves) == 0:
        return []
    one, other = halves
    crossed = zip(
        fitted(fit, one, other, gmacs_per_exit),
        fitted(fit, other, one, gmacs_per_exit),
        fit(record, gmacs_per_exit),
        strict=True,
    )
    return [_pooled((first, second), tuple(row)) for first, second, row in crossed]


def _pooled(points: Sequence[OperatingPoint], thresholds: tuple[float, ...]) -> OperatingPoint:
    """Points of disjoint images as one point of all of them."""
    sizes = [sum(point.exits) for point in points]
    return OperatingPoint(
        thresholds=thresholds,
        accuracy=float(np.average([point.accuracy for point in points], weights=sizes)),
        gmacs=float(np.average([point.gmacs for point in points], weights=sizes)),
        exits=tuple(int(count) for count in np.sum([point.exits for point in points], axis=0)),
    )


def budgets_for(name: str, gmacs_per_exit: Sequence[float]) -> tuple[float, ...]:
    """Mean costs to tell the accuracy at: the paper's, or some between the first and last exit.

    Args:
        name: of the model's configuration.
        gmacs_per_exit: cumulative, ascending.
    """
    if name in _PAPER_BUDGETS:
        return _PAPER_BUDGETS[name]
    evenly = np.linspace(gmacs_per_exit[0], gmacs_per_exit[-1], _NUM_BUDGETS + 2)
    return tuple(float(value) for value in evenly[1:-1])


def accuracy_at(curve: Curve, budget_gmacs: float) -> float | None:
    """Accuracy of a curve of (GMACs, accuracy) at this mean cost.

    Interpolated between the two neighbouring points, which is an accuracy that can be had: let a
    share of the images exit by the one's thresholds and the rest by the other's. None beyond the
    curve's ends.
    """
    gmacs, accuracies = np.array(sorted(curve)).T
    if not gmacs[0] <= budget_gmacs <= gmacs[-1]:
        return None
    return float(np.interp(budget_gmacs, gmacs, accuracies))
