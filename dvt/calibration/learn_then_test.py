"""Thresholds with a proof: with probability 1 - delta their risk is at most epsilon.

Learn then Test with fixed-sequence testing. The first half of the held-out images fixes a sequence
of candidates, from the safest to the cheapest (`paths`). On the second half, each candidate in turn
is tested against "its risk is larger than epsilon". The first that cannot be rejected at level
delta ends the sequence; the last rejected one is taken. Since the sequence was fixed before, only
its first false rejection counts, and that has a probability of at most delta.

Source: Angelopoulos et al., Learn then Test (arXiv 2110.01052), section 4.
Shapes: E exits, n images.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dvt.calibration.bounds import (
    betting_p_value,
    binomial_p_value,
    fewest_bets,
    fewest_images,
    good_bet,
)
from dvt.calibration.paths import cheapest_path
from dvt.calibration.points import Thresholds
from dvt.calibration.recorded_exits import RecordedExits, Risk
from dvt.errors import ModelError
from dvt.exits import FULL_DEPTH

__all__ = ["Certificate", "certified_thresholds", "certify_sequence", "check_sample_size"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was proved, and from which sample.

    Attributes:
        thresholds: one for each exit but the last.
        of: "agreement": the risk is the share of images whose answer differs from the last exit's;
            "accuracy": the risk is the accuracy lost against the last exit.
        epsilon: upper bound of the risk.
        delta: probability that the bound fails.
        num_images: images of the second half, on which it was tested.
        observed_risk: on these images.
        p_value: of the accepted candidate; 0 at full depth, which has no risk.
        num_candidates: in the sequence.
        num_accepted: of these; with 0 the thresholds are full depth's.
    """

    thresholds: Thresholds
    of: Risk
    epsilon: float
    delta: float
    num_images: int
    observed_risk: float
    p_value: float
    num_candidates: int
    num_accepted: int


def certified_thresholds(
    recorded: RecordedExits,
    gmacs_per_exit: Sequence[float],
    of: Risk,
    epsilon: float,
    delta: float,
) -> Certificate:
    """The cheapest thresholds whose risk is proved to be at most epsilon.

    Args:
        recorded: exits on held-out images.
        gmacs_per_exit: cumulative cost of each exit, [E].
        of: the risk.
        epsilon: bound, above 0 and below 1.
        delta: probability that it may fail, above 0 and below 1.

    Raises:
        ModelError: there are too few images, or no labels for a bound on accuracy.
    """
    first, second = check_sample_size(recorded, of, epsilon, delta)
    _, *candidates = cheapest_path(
        first.confidences, gmacs_per_exit, lambda row: float(first.losses(row, of).mean()), epsilon
    )
    return certify_sequence(candidates, first, second, of, epsilon, delta)


def certify_sequence(
    candidates: Sequence[Thresholds],
    first: RecordedExits,
    second: RecordedExits,
    of: Risk,
    epsilon: float,
    delta: float,
) -> Certificate:
    """The last of a sequence of candidates that passes its test.

    Args:
        candidates: from the safest to the cheapest, found without the second half.
        first: half that sizes the bets of the test for accuracy.
        second: half to test on.
        of: the risk; "agreement" has an exact test.
        epsilon: bound, above 0 and below 1.
        delta: probability that it may fail, above 0 and below 1.
    """
    num_images = second.num_images
    # The betting test depends on the order of the images, and a data set may be sorted by class.
    order = np.random.default_rng(0).permutation(num_images)
    full_depth = (FULL_DEPTH,) * (len(second.confidences) - 1)
    accepted, observed_risk, p_value, num_accepted = full_depth, 0.0, 0.0, 0
    for candidate in candidates:
        losses = second.losses(candidate, of)
        if of == "agreement":
            p = binomial_p_value(int(losses.sum()), num_images, epsilon)
        else:
            bet = good_bet(first.losses(candidate, of), num_images, epsilon, delta)
            p = betting_p_value(losses[order], epsilon, bet)
        if p > delta:
            break
        accepted, observed_risk, p_value = candidate, float(losses.mean()), p
        num_accepted += 1
    return Certificate(
        thresholds=accepted,
        of=of,
        epsilon=epsilon,
        delta=delta,
        num_images=num_images,
        observed_risk=observed_risk,
        p_value=p_value,
        num_candidates=len(candidates),
        num_accepted=num_accepted,
    )


def check_sample_size(
    recorded: RecordedExits, of: Risk, epsilon: float, delta: float
) -> tuple[RecordedExits, RecordedExits]:
    """The halves of a sample, if it is large enough to prove a bound at all.

    Raises:
        ModelError: even a sample without any loss would prove nothing.
    """
    first, second = recorded.halves()
    needed = (fewest_images if of == "agreement" else fewest_bets)(epsilon, delta)
    if min(first.num_images, second.num_images) < needed:
        in_all = 2 * needed + math.ceil(6 * math.sqrt(needed))  # the halves differ by chance
        raise ModelError(
            f"max_drop: {100 * epsilon:g} % of {of} with delta {100 * delta:g} % takes at least "
            f"{needed:,} images in each half, some {in_all:,} in all "
            f"(got {first.num_images:,} and {second.num_images:,} from {recorded.data})"
        )
    return first, second
