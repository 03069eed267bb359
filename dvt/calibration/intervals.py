"""Exact confidence intervals for a share that is estimated from a sample."""

import math
from collections.abc import Callable

from dvt.calibration.bounds import binomial_p_value

__all__ = ["clopper_pearson"]


def clopper_pearson(
    num_successes: int, num_images: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval that contains the true share with at least this probability, whatever the share.

    Source: Clopper and Pearson (Biometrika 26, 1934).

    Args:
        num_successes: for example images whose early answer agrees with full depth; 0…n.
        num_images: n, drawn at random; 0 gives (0, 1).
        confidence: above 0 and below 1.

    Returns:
        Lower and upper end; each misses the truth with a probability of at most half of
        1 - confidence.

    Raises:
        ValueError: an argument is out of its range.
    """
    if not 0 <= num_successes <= num_images:
        raise ValueError(f"num_successes: must be from 0 to {num_images} (got {num_successes})")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: must be between 0 and 1 (got {confidence})")
    tail = (1 - confidence) / 2
    num_failures = num_images - num_successes
    # P[Bin(n, share) <= k] falls as the share grows; each end is where it meets the tail.
    upper = 1.0 if num_failures == 0 else _largest(num_successes, num_images, tail)
    lower = 0.0 if num_successes == 0 else 1 - _largest(num_failures, num_images, tail)
    return lower, upper


def _largest(num_failures: int, num_images: int, tail: float) -> float:
    """The largest share at which so few failures still have this probability."""
    return _bisected(lambda share: binomial_p_value(num_failures, num_images, share) > tail)


def _bisected(holds: Callable[[float], bool]) -> float:
    """Point in (0, 1] where a condition that holds at 0 stops to hold, rounded up."""
    low, high = 0.0, 1.0
    while high - low > 1e-12 and not math.isclose(low, high, rel_tol=1e-12):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return high
