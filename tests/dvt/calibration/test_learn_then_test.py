"""The promise: over many draws, the risk is above epsilon in at most delta of them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from dvt.calibration import (
    Candidate,
    Risk,
    binomial_p_value,
    candidates_from_safest,
    certified_thresholds,
    exits_taken,
)
from dvt.exits import FULL_DEPTH
from tests.dvt.calibration.simulated import simulated_exits

EPSILON, DELTA, DRAWS = 0.03, 0.1, 80
COSTS = (1.0, 3.0, 8.0)


def too_many(num_draws: int, rate: float) -> int:
    """Broken promises that a rate of at most this explains with a probability below 0.1 %."""
    return next(
        number
        for number in range(num_draws)
        if binomial_p_value(number - 1, num_draws, rate) > 0.999
    )


class World:
    """200,000 images that stand for all there are; their risks are the true ones."""

    def __init__(self, of: Risk) -> None:
        self.confidences, correct, agrees = simulated_exits(100, 200_000)
        self.right = agrees if of == "agreement" else correct

    def risk(self, thresholds: tuple[float, ...]) -> float:
        exits = exits_taken(self.confidences, thresholds)
        early = self.right[exits, np.arange(self.right.shape[1])]
        return float(self.right[-1].mean() - early.mean())

    def sample(self, seed: int, size: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        rows = np.random.default_rng(seed).choice(self.right.shape[1], size, replace=False)
        return self.confidences[:, rows], self.right[:, rows]


@pytest.mark.parametrize("of", ["agreement", "accuracy"])
def test_the_promise_is_kept_and_a_choice_without_a_test_breaks_it(of: Risk) -> None:
    world = World(of)
    broken = broken_naive = early = 0
    for draw in range(DRAWS):
        confidences, right = world.sample(draw, 1200)
        first, second = slice(0, 600), slice(600, None)
        candidates = candidates_from_safest(confidences[:, first], right[:, first], COSTS)
        certificate = certified_thresholds(
            candidates, confidences[:, second], right[:, second], of, EPSILON, DELTA
        )
        broken += world.risk(certificate.thresholds) > EPSILON
        early += certificate.num_accepted > 0
        # The cheapest whose observed risk is small enough.
        passing = [row for row in candidates if row.losses.mean() <= EPSILON]
        broken_naive += world.risk(passing[-1].thresholds) > EPSILON
    assert broken < too_many(DRAWS, DELTA)
    assert broken_naive >= too_many(DRAWS, DELTA), "the world must be able to break promises"
    assert early > 0.9 * DRAWS, "a promise of full depth is kept by anyone"


def two_exits(num_wrong: int, num_images: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Confidences fall evenly from 1; the last few images answered early disagree."""
    confidences = np.stack([np.linspace(1, 0.001, num_images), np.ones(num_images)])
    agrees = np.ones((2, num_images), dtype=np.bool_)
    agrees[0, num_images - num_wrong :] = False
    return confidences.astype(np.float32), agrees


@pytest.mark.parametrize(("num_wrong", "accepted"), [(4, 1), (5, 0)])
def test_with_a_thousand_images_four_disagreements_are_certified_and_five_are_not(
    num_wrong: int, accepted: int
) -> None:
    confidences, agrees = two_exits(num_wrong, 1000)
    all_leave = Candidate((0.0,), np.zeros(1000, dtype=np.int8))
    certificate = certified_thresholds([all_leave], confidences, agrees, "agreement", 0.01, 0.05)
    assert certificate.num_accepted == accepted
    assert certificate.thresholds == ((0.0,) if accepted else (FULL_DEPTH,))


def test_the_walk_stops_at_the_first_failure_whatever_comes_behind() -> None:
    confidences, agrees = two_exits(50, 1000)
    nobody, everybody = (
        Candidate((threshold,), np.zeros(9, dtype=np.int8)) for threshold in (1.5, 0.0)
    )
    certificate = certified_thresholds(
        [nobody, everybody, nobody], confidences, agrees, "agreement", 0.01, 0.05
    )
    assert (certificate.num_accepted, certificate.thresholds) == (1, (1.5,))
    assert certificate.observed_risk == 0.0


def test_accuracy_may_be_certified_where_agreement_may_not() -> None:
    """Of 4,000 images 80 change, 40 for the better: 2 % disagree, and no accuracy is lost."""
    confidences = np.ones((2, 4000), dtype=np.float32)
    correct = np.ones((2, 4000), dtype=np.bool_)
    correct[0, :80:2] = correct[1, 1:80:2] = False
    losses = correct[1].astype(np.int8) - correct[0].astype(np.int8)
    all_leave = [Candidate((0.5,), losses)]
    certificate = certified_thresholds(all_leave, confidences, correct, "accuracy", 0.01, 0.05)
    assert certificate.num_accepted == 1
    agrees = np.stack([correct[0] == correct[1], np.ones(4000, dtype=np.bool_)])
    certificate = certified_thresholds(all_leave, confidences, agrees, "agreement", 0.01, 0.05)
    assert certificate.num_accepted == 0
