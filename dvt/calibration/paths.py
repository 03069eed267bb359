"""Paths of thresholds from full depth to the first exit, cheaper with every step.

A bounded loss is found by walking such a path from its safe end. Two paths are tried:

uniform   one threshold for all exits; best where all exits are equally well calibrated
swept     the reference's sweep, which goes by ranks and needs no calibration

Both are nested: along a path no threshold rises, at any exit.
Shapes: E exits, n images.
"""

from collections.abc import Callable, Sequence
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from dvt.calibration.points import Thresholds, mean_gmacs
from dvt.calibration.sweep import sweep_thresholds
from dvt.exits import FULL_DEPTH

__all__ = ["cheapest_path", "swept_path", "uniform_path"]

Path = list[Thresholds]

# Shares that leave are p to 1, dense at both ends.
_RATIOS = np.geomspace(1e3, 1e-3, 400)
_SWEEP_SCALE = 20  # a position of the sweep is 20 times its ratio


def uniform_path(confidences_En: NDArray[np.float32]) -> Path:
    """Full depth, then one ever lower threshold for all exits.

    Args:
        confidences_En: largest softmax probability of every image at every exit.
    """
    num_thresholds = len(confidences_En) - 1
    values = np.quantile(confidences_En[:-1], _RATIOS / (1 + _RATIOS), method="lower")
    rows = [(FULL_DEPTH,) * num_thresholds]
    rows += [(float(value),) * num_thresholds for value in values]
    return list(dict.fromkeys(rows))


def swept_path(confidences_En: NDArray[np.float32]) -> Path:
    """Full depth, then the reference's sweep downwards, between and beyond its 59 positions.

    Args:
        confidences_En: largest softmax probability of every image at every exit.
    """
    row = np.full(len(confidences_En) - 1, FULL_DEPTH)
    rows = [row]
    for ratio in _RATIOS:
        row = np.minimum(row, sweep_thresholds(confidences_En, _SWEEP_SCALE * ratio))
        rows.append(row)
    return list(dict.fromkeys(tuple(map(float, row)) for row in rows))


def cheapest_path(
    confidences_En: NDArray[np.float32],
    gmacs_per_exit: Sequence[float],
    loss: Callable[[Thresholds], float],
    max_loss: float,
) -> Path:
    """The path on which a walk within a bound gets cheapest.

    Args:
        confidences_En: largest softmax probability of every image at every exit.
        gmacs_per_exit: cumulative cost of each exit, [E].
        loss: of thresholds on these images.
        max_loss: a walk ends before the first thresholds that lose more; at least 0.
    """

    def reached_gmacs(path: Path) -> float:
        *_, reached = takewhile(lambda row: loss(row) <= max_loss, path)
        return mean_gmacs(confidences_En, reached, gmacs_per_exit)

    return min((uniform_path(confidences_En), swept_path(confidences_En)), key=reached_gmacs)
