"""The Pareto front: choices that no other choice beats in both cost and value."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["pareto_front", "thinned"]


def pareto_front(costs: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the front, cheapest first; values ascend strictly along it.

    Args:
        costs: less is better.
        values: more is better.
    """
    order = np.lexsort((-values, costs))
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(values[order])[:-1]])
    front: NDArray[np.int64] = order[values[order] > best_before]
    return front


def thinned(indices: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of them, evenly spaced, both ends included."""
    if len(indices) <= most:
        return indices
    return indices[np.linspace(0, len(indices) - 1, most).round().astype(np.int64)]
