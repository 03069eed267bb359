"""Thresholds for a row of budgets, and the cheapest of them that is accurate enough.

The family is fitted by the reference's sweep to some pictures, at budgets that grow by the same
factor from the first exit's cost to the last one's. What one budget's
thresholds give on any other pictures is arithmetic on recorded exits.

Shapes: E exits, n pictures, F members of a family, R rounds of a bootstrap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dvt.calibration import exits_taken, thresholds_for_budget
from dvt.exits import FULL_DEPTH

__all__ = ["NONE", "Judged", "cheapest_reaching", "fitted_family", "interpolated"]

Floats = NDArray[np.float64]

NONE = -1  # no member reaches it


def fitted_family(
    signal_En: NDArray[np.float32],
    correct_En: NDArray[np.bool_],
    gmacs_per_exit: Sequence[float],
    num_budgets: int = 96,
) -> Floats:
    """Thresholds [F, E - 1], from all pictures at the first exit to full depth; none twice.

    Args:
        signal_En: what an exit goes by, 0…1, more is surer.
        correct_En: whether each exit's answer is right.
        gmacs_per_exit: cumulative, [E].
        num_budgets: at which thresholds are searched.
    """
    budgets = np.geomspace(gmacs_per_exit[0], gmacs_per_exit[-1], num_budgets)
    num_thresholds = len(gmacs_per_exit) - 1
    rows = [
        (0.0,) * num_thresholds,
        *(thresholds_for_budget(signal_En, gmacs_per_exit, float(budget)) for budget in budgets),
        (FULL_DEPTH,) * num_thresholds,
    ]
    return np.array(list(dict.fromkeys(rows)), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Judged:
    """What every member of a family gives on n pictures.

    Attributes:
        exits: taken by each picture, from 0, [F, n].
        gmacs: spent on each picture, [F, n].
        correct: whether each picture's answer is right, [F, n].
    """

    exits: NDArray[np.int64]
    gmacs: Floats
    correct: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        family_FT: Floats,
        signal_En: NDArray[np.float32],
        correct_En: NDArray[np.bool_],
        gmacs_per_exit: Sequence[float],
    ) -> Self:
        """Judges a family; T is one less than E."""
        exits = np.stack([exits_taken(signal_En, row) for row in family_FT])
        images = np.arange(correct_En.shape[1])
        return cls(exits, np.asarray(gmacs_per_exit)[exits], correct_En[exits, images])


def cheapest_reaching(
    costs_RF: Floats, accuracies_RF: Floats, targets_R: Floats
) -> NDArray[np.int64]:
    """In every round the cheapest member that is at least as accurate as asked, [R]; or `NONE`."""
    reaches = accuracies_RF >= targets_R[:, None] - 1e-12  # means of the same bits, summed anew
    costs = np.where(reaches, costs_RF, np.inf)
    chosen: NDArray[np.int64] = np.where(reaches.any(axis=1), costs.argmin(axis=1), NONE)
    return chosen


def interpolated(costs_F: Floats, accuracies_F: Floats, at: Floats) -> Floats:
    """Accuracy of a curve at some mean costs, between its neighbouring points.

    That is an accuracy that can be had: by the one's thresholds for a share of the pictures, by the
    other's for the rest. Costs outside the curve get its end.
    """
    order = np.argsort(costs_F, kind="stable")
    return np.interp(at, costs_F[order], accuracies_F[order])
