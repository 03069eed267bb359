"""P-values for "the risk is larger than epsilon", exact or valid for every sample size.

Sources: Angelopoulos et al., Learn then Test (arXiv 2110.01052), for the use of both; Waudby-Smith
and Ramdas, Estimating means of bounded random variables by betting (arXiv 2010.09686), section 4,
for the second.
"""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["betting_p_value", "binomial_p_value", "fewest_images", "good_bet", "most_failures"]

_LARGEST_BET = 0.9  # of the one that a single loss would ruin


def binomial_p_value(num_failures: int, num_images: int, epsilon: float) -> float:
    """P[Bin(n, epsilon) <= failures]: how likely so few failures are if the risk is epsilon.

    Exact for losses of 0 and 1. Takes time and memory as the square root of n.

    Args:
        num_failures: 0…n.
        num_images: n.
        epsilon: risk, 0…1.
    """
    if num_failures >= num_images or epsilon <= 0:
        return 1.0
    if num_failures < 0 or epsilon >= 1:
        return 0.0
    log_terms = _log_binomial(num_failures, num_images, epsilon)
    largest = log_terms.max()
    return min(1.0, float(np.exp(log_terms - largest).sum() * np.exp(largest)))


def _log_binomial(most: int, num_images: int, epsilon: float) -> NDArray[np.float64]:
    """Logarithms of P[Bin(n, epsilon) = k] for k up to most < n, but for those that add nothing.

    Those are so far below the mean, or below `most`, or so far above the mean, that by Bernstein's
    inequality all of them together are less than the last bit of the sum of the others.
    """
    mean = num_images * epsilon
    reach = 12 * math.sqrt(mean * (1 - epsilon)) + 60
    last = min(most, math.floor(mean + reach))
    first = max(0, math.ceil(min(last, mean) - reach))
    log_of_last = (
        math.lgamma(num_images + 1)
        - math.lgamma(last + 1)
        - math.lgamma(num_images - last + 1)
        + last * math.log(epsilon)
        + (num_images - last) * math.log1p(-epsilon)
    )
    k = np.arange(last, first, -1)
    ratios = np.log(k / (num_images - k + 1)) - math.log(epsilon) + math.log1p(-epsilon)
    return log_of_last + np.concatenate([[0.0], ratios.cumsum()])


def fewest_images(epsilon: float, delta: float) -> int:
    """Images that an exact certificate needs: with fewer, even no failure proves nothing."""
    number = max(1, math.ceil(math.log(delta) / math.log1p(-epsilon) - 1e-9))
    return number + (binomial_p_value(0, number, epsilon) > delta)


def most_failures(num_images: int, epsilon: float, delta: float) -> int | None:
    """Failures among n images with which a risk of at most epsilon can still be certified.

    Returns:
        The number; None where not even 0 is enough.
    """
    if binomial_p_value(0, num_images, epsilon) > delta:
        return None
    least, most = 0, num_images  # p-value at least <= delta < p-value at most
    while most - least > 1:
        middle = (least + most) // 2
        if binomial_p_value(middle, num_images, epsilon) <= delta:
            least = middle
        else:
            most = middle
    return least


def good_bet(
    gaps_n: NDArray[np.float64] | NDArray[np.int8], num_images: int, epsilon: float, delta: float
) -> float:
    """The share to bet on n further values so as to reach the level delta, judged by other values.

    sqrt(2 log(1 / delta) / (n variance)), the source's for a sample of known size. Any bet is valid
    that does not depend on the values it is laid on; this one is near the best.

    Args:
        gaps_n: values of the same distribution, none of which will be bet on.
        num_images: n.
        epsilon: bound on the mean that is to be shown.
        delta: level.
    """
    # As if one more difference had been seen: a variance of 0 would bet everything on none.
    variance = (float(np.square(gaps_n - gaps_n.mean()).sum()) + 1) / len(gaps_n)
    bet = math.sqrt(2 * math.log(1 / delta) / (num_images * variance))
    return min(bet, _LARGEST_BET / (1 - epsilon))


def betting_p_value(
    gaps_n: NDArray[np.float64] | NDArray[np.int8], epsilon: float, bet: float
) -> float:
    """P-value for "the mean is larger than epsilon" of independent values in [-1, 1].

    A gambler who bets a share on each value being below epsilon gets on average no richer if the
    mean is larger; a fortune of 20 has then a probability of at most 1/20 (Ville).

    Args:
        gaps_n: values in an order that does not depend on them.
        epsilon: above -1 and below 1.
        bet: at least 0 and below 1 / (1 - epsilon), at which one value of 1 would ruin.
    """
    log_capital = np.log1p(bet * (epsilon - gaps_n)).cumsum()
    return float(np.exp(-log_capital.max(initial=0.0)))
