"""Bootstrap intervals for figures that are computed from a sample of images.

A round draws as many images as there are, with replacement; here it is a row of counts that says
how often each image was drawn. Figures to be compared are computed on the same rounds (paired),
so that images that are hard for both cancel out. An interval is the middle 95 % of the rounds. It
covers the choice of test images, not the randomness of training.

Shapes: R rounds, n images, F rows of figures.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Estimate", "estimate", "means", "paired_difference", "resamples"]

Floats = NDArray[np.float64]

_ROUNDS = 2000
_TAIL = 0.025


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float]:
        """Its fields."""
        return asdict(self)


def resamples(num_images: int, seed: int, rounds: int = _ROUNDS) -> Floats:
    """How often each image is drawn in each round, [R, n]; each row sums to n."""
    generator = np.random.default_rng(seed)
    counts = np.empty((rounds, num_images))
    for row in counts:
        drawn = generator.integers(0, num_images, num_images)
        row[:] = np.bincount(drawn, minlength=num_images)
    return counts


def means(counts_Rn: Floats, values_Fn: NDArray[np.bool_] | Floats) -> Floats:
    """Mean of each row of values in each round, [R, F]."""
    found: Floats = counts_Rn @ values_Fn.astype(np.float64).T
    found /= values_Fn.shape[1]
    return found


def estimate(value: float, rounds_R: Floats) -> Estimate:
    """A figure with its interval.

    Args:
        value: of the images themselves.
        rounds_R: of each round.
    """
    low, high = np.quantile(rounds_R, (_TAIL, 1 - _TAIL))
    return Estimate(float(value), float(low), float(high))


def paired_difference(
    counts_Rn: Floats, ones_n: NDArray[np.bool_], others_n: NDArray[np.bool_]
) -> Estimate:
    """Share of the images for which the first is true, less that of the second."""
    gaps_n = ones_n.astype(np.float64) - others_n.astype(np.float64)
    return estimate(float(gaps_n.mean()), means(counts_Rn, gaps_n[None])[:, 0])
