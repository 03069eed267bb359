"""Accuracy/cost curves of recorded exits, with stored or fitted thresholds.

Thresholds look better than they are on the images that they were fitted to. So a curve that is
fitted and evaluated on the same data is cross-fitted: thresholds fitted to one half of the images
are evaluated on the other, and each image counts once, under thresholds that have not seen it.
"""

from collections.abc import Sequence

import numpy as np

from dvt.calibration import (
    SWEEP_POSITIONS,
    OperatingPoint,
    RecordedExits,
    Thresholds,
    evaluate_thresholds,
    sweep_thresholds,
)

__all__ = [
    "Curve",
    "accuracy_at",
    "budgets_for",
    "cross_fitted_sweep",
    "evaluate_rows",
    "sweep_rows",
]

Curve = Sequence[tuple[float, float]]
"""(GMACs, accuracy) of each point."""

# Mean costs at which the paper gives the accuracy of its cascades (DVT, section 4), GMACs.
_PAPER_BUDGETS = {
    "dvt_t2t_vit_12": (0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
    "dvt_t2t_vit_14": (2.0, 2.5, 3.0, 3.5, 4.0),
    "dvt_deit_small": (2.37, 2.90, 3.61, 4.63),
}
_NUM_BUDGETS = 6


def sweep_rows(recorded: RecordedExits) -> list[Thresholds]:
    """The reference's 59 rows of thresholds, fitted to these images."""
    return [sweep_thresholds(recorded.confidences, position) for position in SWEEP_POSITIONS]


def evaluate_rows(
    recorded: RecordedExits, rows: Sequence[Thresholds], gmacs_per_exit: Sequence[float]
) -> tuple[OperatingPoint, ...]:
    """A curve: one point for each row of thresholds.

    Args:
        recorded: exits on labelled images.
        rows: of thresholds.
        gmacs_per_exit: cumulative cost of each exit.
    """
    correct = recorded.right("accuracy")
    return tuple(
        evaluate_thresholds(recorded.confidences, correct, row, gmacs_per_exit) for row in rows
    )


def cross_fitted_sweep(
    recorded: RecordedExits, gmacs_per_exit: Sequence[float]
) -> tuple[OperatingPoint, ...]:
    """The sweep's 59 points, each image evaluated under thresholds fitted to the other half.

    Args:
        recorded: exits on labelled images.
        gmacs_per_exit: cumulative cost of each exit.

    Returns:
        Points with cross-fitted figures and the thresholds that are fitted to all images: the
        figures are what these thresholds can be expected to give on other images. Empty if a half
        has no images.
    """
    one, other = recorded.halves()
    if not one.num_images or not other.num_images:
        return ()
    crossed = zip(
        evaluate_rows(one, sweep_rows(other), gmacs_per_exit),
        evaluate_rows(other, sweep_rows(one), gmacs_per_exit),
        sweep_rows(recorded),
        strict=True,
    )
    return tuple(_pooled((first, second), row) for first, second, row in crossed)


def _pooled(points: Sequence[OperatingPoint], thresholds: Thresholds) -> OperatingPoint:
    """Points of disjoint images as one point of all of them."""
    sizes = [sum(point.exits) for point in points]
    return OperatingPoint(
        thresholds=thresholds,
        accuracy=float(np.average([point.accuracy for point in points], weights=sizes)),
        gmacs=float(np.average([point.gmacs for point in points], weights=sizes)),
        exits=tuple(int(count) for count in np.sum([point.exits for point in points], axis=0)),
    )


def budgets_for(name: str, gmacs_per_exit: Sequence[float]) -> tuple[float, ...]:
    """Mean costs to report accuracies at: the paper's, or six between the first and last exit.

    Args:
        name: of the model's configuration.
        gmacs_per_exit: cumulative, ascending.
    """
    if name in _PAPER_BUDGETS:
        return _PAPER_BUDGETS[name]
    evenly = np.linspace(gmacs_per_exit[0], gmacs_per_exit[-1], _NUM_BUDGETS + 2)
    return tuple(float(value) for value in evenly[1:-1])


def accuracy_at(curve: Curve, budget_gmacs: float) -> float | None:
    """Accuracy of a curve at a mean cost; None beyond the ends of the curve.

    Interpolated between the two neighbouring points. Such an accuracy can be reached: a share of
    the images uses the thresholds of one point, the rest those of the other.
    """
    gmacs, accuracies = np.array(sorted(curve)).T
    if not gmacs[0] <= budget_gmacs <= gmacs[-1]:
        return None
    return float(np.interp(budget_gmacs, gmacs, accuracies))
