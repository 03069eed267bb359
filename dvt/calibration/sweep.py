"""The reference's sweep: thresholds under which given shares of the images leave at each exit.

Shapes: E exits, n images.
Source: the published DVT code (`dynamic_threshold`, `budgeted_batch_classification`); the problem
that it approximates is stated in DVT, section 4.1.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dvt.calibration.points import Thresholds, mean_gmacs
from dvt.errors import ModelError
from dvt.exits import FULL_DEPTH

__all__ = [
    "SWEEP_POSITIONS",
    "exit_shares",
    "sweep_thresholds",
    "thresholds_for_budget",
    "thresholds_for_shares",
]

SWEEP_POSITIONS = range(1, 60)

_CHEAPEST, _DEAREST = 1e-4, 1e6  # positions at which all images leave at the first, last exit
_BISECTIONS = 40
_ROUNDING = 1 + 1e-9  # of a sum of costs


def exit_shares(position: float, num_exits: int) -> NDArray[np.float64]:
    """Shares of the images per exit at one position of the sweep: proportional to p, p^2, …"""
    powers: NDArray[np.float64] = np.power(position / 20, np.arange(1, num_exits + 1))
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def thresholds_for_shares(
    confidences_En: NDArray[np.float32], shares: Sequence[float]
) -> Thresholds:
    """Thresholds under which these shares of the images leave at each exit.

    For each exit in turn, the confidence of the floor(n * share)-th most confident image among
    those that have not left; `FULL_DEPTH` where that number is 0.

    Args:
        confidences_En: largest softmax probability of each image at each exit, [E, n].
        shares: fractions of all images, one for each exit; the last exit takes the rest.
    """
    num_exits, num_images = confidences_En.shape
    remaining = np.ones(num_images, dtype=bool)
    thresholds: list[float] = []
    for exit_index in range(num_exits - 1):
        ranked = np.sort(confidences_En[exit_index][remaining])[::-1]
        leaving = min(int(num_images * shares[exit_index]), len(ranked))
        threshold = float(ranked[leaving - 1]) if leaving else FULL_DEPTH
        thresholds.append(threshold)
        remaining &= confidences_En[exit_index] < threshold
    return tuple(thresholds)


def sweep_thresholds(confidences_En: NDArray[np.float32], position: float) -> Thresholds:
    """The reference's thresholds at one position.

    Args:
        confidences_En: largest softmax probability of each image at each exit, [E, n].
        position: i of p = i / 20; the reference has 1…59, and any positive number is allowed.
    """
    shares = exit_shares(position, len(confidences_En))
    return thresholds_for_shares(confidences_En, tuple(float(share) for share in shares))


def thresholds_for_budget(
    confidences_En: NDArray[np.float32], gmacs_per_exit: Sequence[float], budget_gmacs: float
) -> Thresholds:
    """The sweep's thresholds at the last position whose mean cost is within a budget.

    Args:
        confidences_En: largest softmax probability of each image at each exit, [E, n].
        gmacs_per_exit: cumulative cost of each exit, [E].
        budget_gmacs: mean cost of an image, GMACs; above full depth's it buys full depth.

    Raises:
        ModelError: the budget is below the cost of the first exit.
    """
    limit = budget_gmacs * _ROUNDING
    if limit < gmacs_per_exit[0]:
        raise ModelError(
            f"budget: must be at least the first exit's {gmacs_per_exit[0]:.4g} GMACs "
            f"(got {budget_gmacs:.4g})"
        )
    num_thresholds = len(gmacs_per_exit) - 1
    if limit >= gmacs_per_exit[-1]:
        return (FULL_DEPTH,) * num_thresholds
    found: Thresholds = (0.0,) * num_thresholds
    low, high = np.log(_CHEAPEST), np.log(_DEAREST)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        thresholds = sweep_thresholds(confidences_En, float(np.exp(middle)))
        if mean_gmacs(confidences_En, thresholds, gmacs_per_exit) <= limit:
            low, found = middle, thresholds
        else:
            high = middle
    return found
