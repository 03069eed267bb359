"""Thresholds with a proof: with probability 1 - delta their risk is at most epsilon.

Pareto testing with fixed-sequence testing. On one half of the held-out images the candidates are
found and put in an order, from the safest to the cheapest; then they are frozen. On the other half
each in turn is tested against "its risk is larger than epsilon", until the first that cannot be
rejected at level delta; the last rejected one is taken. The order was fixed before the second half
was looked at, so only the first false rejection counts, and its probability is at most delta.

Sources: Laufer-Goldshtein et al., Efficiently controlling multiple risks with Pareto testing (arXiv
2210.07913); Angelopoulos et al., Learn then Test (arXiv 2110.01052).
Shapes: E exits, n images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dvt.calibration.bounds import betting_p_value, binomial_p_value, good_bet
from dvt.calibration.joint import JointSearch
from dvt.calibration.points import exits_taken
from dvt.exits import FULL_DEPTH

__all__ = [
    "RISKS",
    "Candidate",
    "Certificate",
    "Risk",
    "candidates_from_safest",
    "certified_thresholds",
]

Risk = Literal["agreement", "accuracy"]
RISKS: tuple[Risk, ...] = get_args(Risk)

_MOST_CANDIDATES = 500


@dataclass(frozen=True, slots=True)
class Certificate:
    """What was proved, and from what.

    Attributes:
        thresholds: one for each exit but the last.
        of: "agreement": the risk is the share of images whose answer differs from the last exit's;
            "accuracy": it is the accuracy lost against the last exit.
        epsilon: the risk is at most this …
        delta: … but for this probability.
        num_images: of the second half, on which it was tested.
        observed_risk: on these.
        p_value: of the accepted candidate; 0 at full depth, which has no risk.
        num_candidates: on the front.
        num_accepted: of them; with 0 the thresholds are those of full depth.
    """

    thresholds: tuple[float, ...]
    of: Risk
    epsilon: float
    delta: float
    num_images: int
    observed_risk: float
    p_value: float
    num_candidates: int
    num_accepted: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """Thresholds to be tested, and the losses that the first half had under them, [n]."""

    thresholds: tuple[float, ...]
    losses: NDArray[np.int8]


def candidates_from_safest(
    confidences_En: NDArray[np.float32],
    right_En: NDArray[np.bool_],
    gmacs_per_exit: Sequence[float],
) -> list[Candidate]:
    """The frozen sequence: the front of cost and expected risk, safest first.

    Args:
        confidences_En: of the first half.
        right_En: of the first half: agreement with the last exit, or correctness.
        gmacs_per_exit: cumulative cost of leaving at each exit.
    """
    front = JointSearch(confidences_En, right_En, gmacs_per_exit).front(_MOST_CANDIDATES)
    return [Candidate(row, _losses(confidences_En, right_En, row)) for row in reversed(front)]


def certified_thresholds(
    candidates: Sequence[Candidate],
    confidences_En: NDArray[np.float32],
    right_En: NDArray[np.bool_],
    of: Risk,
    epsilon: float,
    delta: float,
) -> Certificate:
    """The cheapest thresholds whose risk is proved to be at most epsilon.

    Args:
        candidates: from the safest to the cheapest, found without the images below.
        confidences_En: of the second half.
        right_En: of the second half, of the same kind as the candidates'.
        of: the risk; "agreement" has an exact test.
        epsilon: above 0 and below 1.
        delta: above 0 and below 1.
    """
    num_exits, num_images = confidences_En.shape
    # The betting test looks at the images one by one. A data set may be sorted by class.
    order = np.random.default_rng(0).permutation(num_images)
    full_depth = (FULL_DEPTH,) * (num_exits - 1)
    accepted, observed_risk, p_value, num_accepted = full_depth, 0.0, 0.0, 0
    for candidate in candidates:
        losses = _losses(confidences_En, right_En, candidate.thresholds)
        if of == "agreement":
            p = binomial_p_value(int(losses.sum()), num_images, epsilon)
        else:
            bet = good_bet(candidate.losses, num_images, epsilon, delta)
            p = betting_p_value(losses[order], epsilon, bet)
        if p > delta:
            break
        accepted, observed_risk, p_value = candidate.thresholds, float(losses.mean()), p
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


def _losses(
    confidences_En: NDArray[np.float32],
    right_En: NDArray[np.bool_],
    thresholds: tuple[float, ...],
) -> NDArray[np.int8]:
    """What leaving early costs each image: 1 a right answer, 0 nothing, -1 a wrong one, [n]."""
    images = np.arange(confidences_En.shape[1])
    right = right_En[exits_taken(confidences_En, thresholds), images]
    losses: NDArray[np.int8] = right_En[-1].astype(np.int8) - right.astype(np.int8)
    return losses
