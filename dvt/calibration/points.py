"""Accuracy and mean cost of thresholds on recorded exits.

Works on plain numpy arrays, so the exits of any model can be evaluated. Shapes: E exits, n images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["OperatingPoint", "Thresholds", "evaluate_thresholds", "exits_taken", "mean_gmacs"]

Thresholds = tuple[float, ...]
"""One threshold for each exit but the last, which takes all images."""


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One point of the accuracy/cost curve.

    Attributes:
        thresholds: one for each exit but the last.
        accuracy: top-1 as a fraction of all images.
        gmacs: mean cost of an image.
        exits: number of images that leave at each exit.
    """

    thresholds: Thresholds
    accuracy: float
    gmacs: float
    exits: tuple[int, ...]


def exits_taken(
    confidences_En: NDArray[np.float32], thresholds: Sequence[float]
) -> NDArray[np.int64]:
    """The exit (from 0) at which each image leaves, [n]: the first that is confident enough."""
    num_exits, num_images = confidences_En.shape
    exit_of_n = np.full(num_images, num_exits - 1, dtype=np.int64)
    for exit_index in reversed(range(num_exits - 1)):
        exit_of_n[confidences_En[exit_index] >= thresholds[exit_index]] = exit_index
    return exit_of_n


def mean_gmacs(
    confidences_En: NDArray[np.float32],
    thresholds: Sequence[float],
    gmacs_per_exit: Sequence[float],
) -> float:
    """Mean cost of an image under these thresholds.

    Args:
        confidences_En: largest softmax probability of each image at each exit, [E, n].
        thresholds: one for each exit but the last.
        gmacs_per_exit: cumulative cost of each exit, [E].
    """
    exits = exits_taken(confidences_En, thresholds)
    return float(np.asarray(gmacs_per_exit)[exits].mean())


def evaluate_thresholds(
    confidences_En: NDArray[np.float32],
    correct_En: NDArray[np.bool_],
    thresholds: Sequence[float],
    gmacs_per_exit: Sequence[float],
) -> OperatingPoint:
    """Accuracy and mean cost if each image leaves at its first confident exit.

    Args:
        confidences_En: largest softmax probability of each image at each exit, [E, n].
        correct_En: whether each exit's answer is right, [E, n].
        thresholds: one for each exit but the last; more are ignored.
        gmacs_per_exit: cumulative cost of each exit, [E].
    """
    num_exits, num_images = confidences_En.shape
    exit_of_n = exits_taken(confidences_En, thresholds)
    exits = np.bincount(exit_of_n, minlength=num_exits)
    return OperatingPoint(
        thresholds=tuple(float(value) for value in thresholds[: num_exits - 1]),
        accuracy=float(correct_En[exit_of_n, np.arange(num_images)].mean()),
        gmacs=mean_gmacs(confidences_En, thresholds, gmacs_per_exit),
        exits=tuple(int(count) for count in exits),
    )
