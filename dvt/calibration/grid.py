"""Totals for every pair of thresholds of two neighbouring exits, all at once.

Two thresholds make a grid of G x G cells. A cell differs from its neighbours by the few images
between two lines, so two-dimensional cumulative sums give every cell's totals in O(n log G + G^2),
not O(n G^2). Shapes: n images, Q quantities, A and B lines.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["pair_totals"]

Floats = NDArray[np.float64]


def pair_totals(
    confidences_2n: NDArray[np.float32],
    lines: tuple[Floats, Floats],
    first_Qn: Floats,
    second_Qn: Floats,
    later_Qn: Floats,
) -> Floats:
    """Sums over the images of what they yield, for each pair of lines as the two thresholds.

    Args:
        confidences_2n: at the two exits.
        lines: candidate thresholds of either exit, ascending.
        first_Qn: quantities (cost, accuracy, …) of each image if it leaves at the first exit.
        second_Qn: if it leaves at the second.
        later_Qn: if it leaves at neither.

    Returns:
        Totals [Q, A, B].
    """
    num_a, num_b = len(lines[0]), len(lines[1])
    # Lines that an image's confidence reaches: with line i it leaves exactly if i < reached.
    reached_a = np.searchsorted(lines[0], confidences_2n[0], side="right")
    reached_b = np.searchsorted(lines[1], confidences_2n[1], side="right")
    cell = reached_a * (num_b + 1) + reached_b
    totals = np.empty((len(first_Qn), num_a, num_b))
    for quantity, (first, second, later) in enumerate(
        zip(first_Qn, second_Qn, later_Qn, strict=True)
    ):
        stays = np.bincount(reached_a, second - first, num_a + 1)[:num_a].cumsum()
        goes_on = np.bincount(cell, later - second, (num_a + 1) * (num_b + 1))
        goes_on = goes_on.reshape(num_a + 1, num_b + 1)[:num_a, :num_b]
        totals[quantity] = goes_on.cumsum(axis=0).cumsum(axis=1)
        totals[quantity] += first.sum() + stays[:, None]
    return totals
