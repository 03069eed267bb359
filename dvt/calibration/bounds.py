"""P-values for "the risk is larger than epsilon", exact or valid at every sample size.

Sources: Angelopoulos et al., Learn then Test (arXiv 2110.01052), for the use of both; Waudby-Smith
and Ramdas, Estimating means of bounded random variables by betting (arXiv 2010.09686), section 4,
for the betting test.
"""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "betting_p_value",
    "binomial_p_value",
    "fewest_bets",
    "fewest_images",
    "good_bet",
    "most_failures",
]

_LARGEST_BET = 0.9  # of the bet that a single loss would ruin


def binomial_p_value(num_failures: int, num_images: int, epsilon: float) -> float:
    """P[Bin(n, epsilon) <= failures]: the probability of so few failures if the risk is epsilon.

    Exact for losses of 0 and 1. Takes time and memory proportional to the square root of n.

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
    """Logarithms of P[Bin(n, epsilon) = k] for k up to most < n, without negligible terms.

    By Bernstein's inequality, the terms left out sum to less than the last bit of the others' sum.
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
    """Images that the exact test needs: a smaller sample proves nothing even without failures."""
    number = max(1, math.ceil(math.log(delta) / math.log1p(-epsilon) - 1e-9))
    return number + (binomial_p_value(0, number, epsilon) > delta)


def fewest_bets(epsilon: float, delta: float) -> int:
    """Images that the betting test needs if none of them loses anything, to within 1 %."""
    number = fewest_images(epsilon, delta)
    while True:
        no_losses = np.zeros(number)
        bet = good_bet(no_losses, number, epsilon, delta)
        if betting_p_value(no_losses, epsilon, bet) <= delta:
            return number
        number = math.ceil(1.01 * number) + 1


def most_failures(num_images: int, epsilon: float, delta: float) -> int | None:
    """Failures among n images with which a risk of at most epsilon can still be certified.

    Returns:
        The number; None where even 0 failures prove nothing.
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
    losses_n: NDArray[np.float64] | NDArray[np.int8], num_images: int, epsilon: float, delta: float
) -> float:
    """The share to bet on each of n further values to reach the level delta.

    sqrt(2 log(1 / delta) / (n variance)), the source's for a sample of known size. Any bet is valid
    that does not depend on the values bet on; this one is close to optimal.

    Args:
        losses_n: values of the same distribution, none of which is bet on.
        num_images: n.
        epsilon: bound on the mean that is to be shown.
        delta: level.
    """
    # As if one more difference had been seen: a variance of 0 would allow an unlimited bet.
    variance = (float(np.square(losses_n - losses_n.mean()).sum()) + 1) / len(losses_n)
    bet = math.sqrt(2 * math.log(1 / delta) / (num_images * variance))
    return min(bet, _LARGEST_BET / (1 - epsilon))


def betting_p_value(
    losses_n: NDArray[np.float64] | NDArray[np.int8], epsilon: float, bet: float
) -> float:
    """P-value for "the mean is larger than epsilon" of independent values in [-1, 1].

    A gambler bets a share of the capital on each value being below epsilon. If the mean is larger,
    the capital does not grow on average, and reaches 1/p with a probability of at most p (Ville).

    Args:
        losses_n: values in an order that does not depend on them.
        epsilon: above -1 and below 1.
        bet: at least 0 and below 1 / (1 - epsilon), at which a single value of 1 would ruin.
    """
    log_capital = np.log1p(bet * (epsilon - losses_n)).cumsum()
    return float(np.exp(-log_capital.max(initial=0.0)))
