"""What thresholds give on recorded exits: the curve's points.

Works on plain numpy arrays, so any model's exits can be judged. Shapes: E exits, n images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["OperatingPoint", "evaluate_thresholds", "exits_taken"]


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One point of the accuracy/cost curve.

    Attributes:
        thresholds: one for each exit but the last.
        accuracy: top-1 as a fraction of all images; agreement with full depth where that was given
            in place of correctness.
        gmacs: mean cost per image.
        exits: number of images answered at each exit.
    """

    thresholds: tuple[float, ...]
    accuracy: float
    gmacs: float
    exits: tuple[int, ...]


def exits_taken(
    confidences_En: NDArray[np.float32], thresholds: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.int64]:
    """The exit (from 0) at which every image leaves, [n]: the first that is confident enough."""
    num_exits, num_images = confidences_En.shape
    exit_of_n = np.full(num_images, num_exits - 1, dtype=np.int64)
    for exit_index in reversed(range(num_exits - 1)):
        exit_of_n[confidences_En[exit_index] >= thresholds[exit_index]] = exit_index
    return exit_of_n


def evaluate_thresholds(
    confidences_En: NDArray[np.float32],
    correct_En: NDArray[np.bool_],
    thresholds: Sequence[float],
    gmacs_per_exit: Sequence[float],
) -> OperatingPoint:
    """Accuracy and mean cost if every image left at its first confident exit.

    Args:
        confidences_En: [E, n].
        correct_En: whether each exit's answer is right, [E, n].
        thresholds: one for each exit but the last.
        gmacs_per_exit: cumulative cost of leaving at each exit, [E].
    """
    num_exits, num_images = confidences_En.shape
    exit_of_n = exits_taken(confidences_En, thresholds)
    exits = np.bincount(exit_of_n, minlength=num_exits)
    correct = correct_En[exit_of_n, np.arange(num_images)]
    return OperatingPoint(
        thresholds=tuple(float(value) for value in thresholds[: num_exits - 1]),
        accuracy=float(correct.mean()),
        gmacs=float(np.dot(exits, np.asarray(gmacs_per_exit)) / num_images),
        exits=tuple(int(count) for count in exits),
    )
