"""The reference's sweep: thresholds that send given shares of the images to each exit.

Shapes: E exits, n images.
Source: the published DVT code (`dynamic_threshold`, `budgeted_batch_classification`); DVT
section 4.1 states the problem it approximates.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["SWEEP_POSITIONS", "exit_shares", "sweep_thresholds", "thresholds_for_shares"]

SWEEP_POSITIONS = range(1, 60)

# Nothing is as confident as this; the reference uses the same idea with 1e8.
_NOBODY = 1e8


def exit_shares(position: float, num_exits: int) -> NDArray[np.float64]:
    """Shares of the images per exit at one position of the sweep: proportional to p, p^2, …"""
    powers: NDArray[np.float64] = np.power(position / 20, np.arange(1, num_exits + 1))
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def thresholds_for_shares(
    confidences_En: NDArray[np.float32], shares: Sequence[float]
) -> tuple[float, ...]:
    """Thresholds under which these shares of the images leave at each exit.

    For each exit in turn, the confidence of the floor(n * share)-th most confident image among
    those that have not left; nobody leaves where that count is 0.

    Args:
        confidences_En: largest softmax probability of every image at every exit, [E, n].
        shares: fractions of all images, one for each exit; the last takes what is left.

    Returns:
        One threshold for each exit but the last.
    """
    num_exits, num_images = confidences_En.shape
    remaining = np.ones(num_images, dtype=bool)
    thresholds: list[float] = []
    for exit_index in range(num_exits - 1):
        ranked = np.sort(confidences_En[exit_index][remaining])[::-1]
        leaving = min(int(num_images * shares[exit_index]), len(ranked))
        threshold = float(ranked[leaving - 1]) if leaving else _NOBODY
        thresholds.append(threshold)
        remaining &= confidences_En[exit_index] < threshold
    return tuple(thresholds)


def sweep_thresholds(confidences_En: NDArray[np.float32], position: float) -> tuple[float, ...]:
    """The reference's thresholds for one position p = 1…59, or between them.

    Args:
        confidences_En: largest softmax probability of every image at every exit, [E, n].
        position: i of p = i / 20.

    Returns:
        One threshold for each exit but the last.
    """
    shares = exit_shares(position, len(confidences_En))
    return thresholds_for_shares(confidences_En, tuple(float(share) for share in shares))
