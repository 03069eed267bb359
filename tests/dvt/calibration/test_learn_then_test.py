"""Over many samples, the risk exceeds epsilon in at most delta of them."""

import numpy as np
import pytest

from dvt.calibration import (
    RecordedExits,
    Risk,
    binomial_p_value,
    certified_thresholds,
    certify_sequence,
    cheapest_path,
)
from dvt.errors import ModelError
from dvt.exits import FULL_DEPTH
from tests.dvt.calibration.simulated import recorded_exits, simulated_exits, simulated_record

EPSILON, DELTA, DRAWS = 0.03, 0.1, 80
COSTS = (1.0, 3.0, 8.0)


def too_many(num_draws: int, rate: float) -> int:
    """Failures that a rate of at most this explains with a probability below 0.1 %."""
    return next(
        number
        for number in range(num_draws)
        if binomial_p_value(number - 1, num_draws, rate) > 0.999
    )


@pytest.mark.parametrize("of", ["agreement", "accuracy"])
def test_the_bound_fails_no_more_often_than_delta_and_a_choice_without_a_test_does(
    of: Risk,
) -> None:
    """80 samples of a population of 200,000 images, whose risks are the true ones."""
    population = simulated_record(100, 200_000, of)
    right = population.right(of)
    failed = failed_naive = early = 0
    for draw in range(DRAWS):
        rows = np.random.default_rng(draw).choice(200_000, 1200, replace=False)
        sample = recorded_exits(population.confidences[:, rows], right[:, rows], of, num_first=600)
        certificate = certified_thresholds(sample, COSTS, of, EPSILON, DELTA)
        failed += population.losses(certificate.thresholds, of).mean() > EPSILON
        early += certificate.num_accepted > 0
        # The cheapest thresholds whose observed risk is below the bound.
        first, _ = sample.halves()
        path = path_of(first, of)
        passing = [row for row in path if first.losses(row, of).mean() <= EPSILON]
        failed_naive += population.losses(passing[-1], of).mean() > EPSILON
    assert failed < too_many(DRAWS, DELTA)
    assert failed_naive >= too_many(DRAWS, DELTA), "the population must allow bounds to fail"
    assert early > 0.9 * DRAWS, "full depth keeps any bound"


def path_of(record: RecordedExits, of: Risk) -> list[tuple[float, ...]]:
    def loss(row: tuple[float, ...]) -> float:
        return float(record.losses(row, of).mean())

    return cheapest_path(record.confidences, COSTS, loss, EPSILON)


def two_exits(num_wrong: int, num_images: int) -> RecordedExits:
    """Confidences fall evenly from 1; the last few images disagree if they leave early."""
    confidences = np.stack([np.linspace(1, 0.001, num_images), np.ones(num_images)])
    agrees = np.ones((2, num_images), dtype=np.bool_)
    agrees[0, num_images - num_wrong :] = False
    return recorded_exits(confidences.astype(np.float32), agrees, "agreement")


@pytest.mark.parametrize(("num_wrong", "accepted"), [(4, 1), (5, 0)])
def test_with_a_thousand_images_four_disagreements_are_certified_and_five_are_not(
    num_wrong: int, accepted: int
) -> None:
    record = two_exits(num_wrong, 1000)
    certificate = certify_sequence([(0.0,)], record, record, "agreement", 0.01, 0.05)
    assert certificate.num_accepted == accepted
    assert certificate.thresholds == ((0.0,) if accepted else (FULL_DEPTH,))


def test_the_sequence_ends_at_the_first_failure() -> None:
    record = two_exits(50, 1000)
    certificate = certify_sequence(
        [(1.5,), (0.0,), (1.5,)], record, record, "agreement", 0.01, 0.05
    )
    assert (certificate.num_accepted, certificate.thresholds) == (1, (1.5,))
    assert certificate.observed_risk == 0.0


def test_accuracy_may_be_certified_where_agreement_may_not() -> None:
    """Of 4,000 images 80 change, 40 for the better: 2 % disagree, and no accuracy is lost."""
    confidences = np.ones((2, 4000), dtype=np.float32)
    correct = np.ones((2, 4000), dtype=np.bool_)
    correct[0, :80:2] = correct[1, 1:80:2] = False
    record = recorded_exits(confidences, correct, "accuracy")
    certificate = certify_sequence([(0.5,)], record, record, "accuracy", 0.01, 0.05)
    assert certificate.num_accepted == 1
    agrees = np.stack([correct[0] == correct[1], np.ones(4000, dtype=np.bool_)])
    record = recorded_exits(confidences, agrees, "agreement")
    certificate = certify_sequence([(0.5,)], record, record, "agreement", 0.01, 0.05)
    assert certificate.num_accepted == 0


@pytest.mark.parametrize(("of", "needed"), [("agreement", "299"), ("accuracy", "333")])
def test_a_sample_that_cannot_prove_a_bound_is_refused_with_the_size_that_can(
    of: Risk, needed: str
) -> None:
    confidences, right, _ = simulated_exits(0, 500)
    record = recorded_exits(confidences, right, of, num_first=250)
    with pytest.raises(
        ModelError, match=rf"^max_drop: 1 % of {of} with delta 5 % takes at least {needed} images"
    ):
        certified_thresholds(record, COSTS, of, 0.01, 0.05)
