"""Thresholds that a search looks at, as columns. Shapes: M candidates, E exits."""

import numpy as np
from numpy.typing import NDArray

from dvt.calibration.front import pareto_front, thinned

__all__ = ["Candidates"]

Floats = NDArray[np.float64]


class Candidates:
    """M thresholds with their mean cost, and their expected and observed right answers."""

    def __init__(
        self, thresholds: Floats, costs: Floats, expected: Floats, observed: Floats
    ) -> None:
        self.thresholds, self.costs = thresholds, costs
        self.expected, self.observed = expected, observed

    def row(self, index: int) -> tuple[float, ...]:
        """Thresholds of one."""
        return tuple(float(value) for value in self.thresholds[index])

    def _at(self, rows: NDArray[np.int64] | slice) -> "Candidates":
        return Candidates(
            self.thresholds[rows], self.costs[rows], self.expected[rows], self.observed[rows]
        )

    def best_within(self, limit: float, floor: float) -> tuple[float, ...] | None:
        """The best expected one within a mean cost, of those with that many observed right."""
        allowed = np.flatnonzero((self.costs <= limit) & (self.observed >= floor))
        return self.row(int(allowed[self.expected[allowed].argmax()])) if len(allowed) else None

    def best(self, most: int | None = None) -> "Candidates":
        """Those that no others beat in both cost and expected right answers."""
        front = pareto_front(self.costs, self.expected)
        return self._at(front if most is None else thinned(front, most))

    def joined(self, other: "Candidates") -> "Candidates":
        """These and others."""
        return Candidates(
            np.concatenate([self.thresholds, other.thresholds]),
            np.concatenate([self.costs, other.costs]),
            np.concatenate([self.expected, other.expected]),
            np.concatenate([self.observed, other.observed]),
        )
