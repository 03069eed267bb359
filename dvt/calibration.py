"""Thresholds and what they give: the reference's sweep, and the curve it traces.

Works on plain numpy arrays of softmax scores, so any model's exits can be swept.
Shapes: E exits, n images.
Source: the published DVT code (`dynamic_threshold`, `budgeted_batch_classification`); DVT
section 4.1 states the problem it approximates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["SWEEP_POSITIONS", "OperatingPoint", "evaluate_thresholds", "sweep_thresholds"]

SWEEP_POSITIONS = range(1, 60)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One point of the accuracy/cost curve.

    Attributes:
        thresholds: one for each exit but the last.
        accuracy: top-1 as a fraction of all images.
        gmacs: mean cost per image.
        exits: number of images answered at each exit.
    """

    thresholds: tuple[float, ...]
    accuracy: float
    gmacs: float
    exits: tuple[int, ...]


def exit_shares(position: int, num_exits: int) -> NDArray[np.float64]:
    """Shares of the images per exit at one position of the sweep: proportional to p, p^2, …"""
    powers: NDArray[np.float64] = np.power(position / 20, np.arange(1, num_exits + 1))
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def sweep_thresholds(confidences_En: NDArray[np.float32], position: int) -> tuple[float, ...]:
    """The reference's thresholds for one position p = 1…59.

    For each exit in turn, the confidence of the floor(n * share)-th most confident image among
    those that have not left; nobody leaves where that count is 0.

    Args:
        confidences_En: largest softmax probability of every image at every exit, [E, n].
        position: i of p = i / 20.

    Returns:
        One threshold for each exit but the last.
    """
    num_exits, num_images = confidences_En.shape
    shares = exit_shares(position, num_exits)
    remaining = np.ones(num_images, dtype=bool)
    thresholds: list[float] = []
    for exit_index in range(num_exits - 1):
        ranked = np.sort(confidences_En[exit_index][remaining])[::-1]
        leaving = min(int(num_images * shares[exit_index]), len(ranked))
        # Nothing is as confident as this; the reference uses the same idea with 1e8.
        threshold = float(ranked[leaving - 1]) if leaving else 1e8
        thresholds.append(threshold)
        remaining &= confidences_En[exit_index] < threshold
    return tuple(thresholds)


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
    exit_of_n = np.full(num_images, num_exits - 1)
    for exit_index in reversed(range(num_exits - 1)):
        exit_of_n[confidences_En[exit_index] >= thresholds[exit_index]] = exit_index
    exits = np.bincount(exit_of_n, minlength=num_exits)
    correct = correct_En[exit_of_n, np.arange(num_images)]
    return OperatingPoint(
        thresholds=tuple(float(value) for value in thresholds[: num_exits - 1]),
        accuracy=float(correct.mean()),
        gmacs=float(np.dot(exits, np.asarray(gmacs_per_exit)) / num_images),
        exits=tuple(int(count) for count in exits),
    )
