"""How sure a figure of some pictures is: it is computed again on pictures drawn from them.

A round of the bootstrap draws as many pictures as there are, with replacement; here it is a row of
counts that says how often each picture was drawn. Figures that are compared are computed on the
same rounds (paired), so that what is hard for both cancels out. An interval is the middle part of
the rounds (percentiles). It tells how the figure would move with other test pictures; it knows
nothing of how it would move with another training.

Shapes: R rounds, n pictures, F rows of figures.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Counts", "Estimate", "estimate", "means", "paired_difference", "resamples"]

Floats = NDArray[np.float64]
Counts = Floats

_ROUNDS = 2000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, and the interval that holds it with 95 %."""

    value: float
    low: float
    high: float


def resamples(num_images: int, seed: int, rounds: int = _ROUNDS) -> Counts:
    """How often every picture is drawn in every round, [R, n]; a row's sum is n."""
    generator = np.random.default_rng(seed)
    counts = np.empty((rounds, num_images))
    for row in counts:
        drawn = generator.integers(0, num_images, num_images)
        row[:] = np.bincount(drawn, minlength=num_images)
    return counts


def means(counts_Rn: Counts, values_Fn: NDArray[np.bool_] | Floats) -> Floats:
    """Mean of each row of values in every round, [R, F]."""
    found: Floats = counts_Rn @ values_Fn.astype(np.float64).T
    found /= values_Fn.shape[1]
    return found


def estimate(value: float, rounds_R: Floats, confidence: float = 0.95) -> Estimate:
    """A figure with its interval.

    Args:
        value: of the pictures themselves.
        rounds_R: of every round.
        confidence: share of the rounds inside.
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(rounds_R, (tail, 1 - tail))
    return Estimate(float(value), float(low), float(high))


def paired_difference(
    counts_Rn: Counts, ones_n: NDArray[np.bool_], others_n: NDArray[np.bool_]
) -> Estimate:
    """Share of pictures of which the ones are true, less that of the others."""
    gaps_n = ones_n.astype(np.float64) - others_n.astype(np.float64)
    return estimate(float(gaps_n.mean()), means(counts_Rn, gaps_n[None])[:, 0])
