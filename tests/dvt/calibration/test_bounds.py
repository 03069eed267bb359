"""P-values are exact where they claim to be, and never too small where they are bounds."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from dvt.calibration import (
    betting_p_value,
    binomial_p_value,
    fewest_bets,
    fewest_images,
    good_bet,
    most_failures,
)


def exact(num_failures: int, num_images: int, epsilon: Fraction) -> Fraction:
    terms = (
        comb(num_images, k) * epsilon**k * (1 - epsilon) ** (num_images - k)
        for k in range(num_failures + 1)
    )
    return sum(terms, Fraction(0))


@pytest.mark.parametrize("epsilon", [Fraction(1, 1000), Fraction(1, 100), Fraction(2, 5)])
@pytest.mark.parametrize(
    ("num_failures", "num_images"), [(0, 1), (0, 300), (4, 1000), (7, 8), (150, 400)]
)
def test_the_binomial_tail_is_exact(num_failures: int, num_images: int, epsilon: Fraction) -> None:
    expected = float(exact(num_failures, num_images, epsilon))
    assert binomial_p_value(num_failures, num_images, float(epsilon)) == pytest.approx(
        expected, rel=1e-10
    )


def test_the_binomial_tail_has_its_ends() -> None:
    assert binomial_p_value(5, 5, 0.3) == 1.0
    assert binomial_p_value(3, 5, 0.0) == 1.0
    assert binomial_p_value(3, 5, 1.0) == 0.0
    assert binomial_p_value(0, 10**6, 0.5) == 0.0
    assert binomial_p_value(500_000, 10**6, 0.5) == pytest.approx(0.5, abs=1e-3)


def test_the_tail_of_a_hundred_million_is_known_in_two_limits() -> None:
    """Half of a sum that is symmetric, and the middle term, C(2m, m) / 4^m = 1 / sqrt(pi m).

    And Poisson's law for what is rare: P[3 expected, at most 2] = 8.5 / e^3.
    """
    middle = 1 / np.sqrt(np.pi * 5e7)
    assert binomial_p_value(50_000_000, 10**8, 0.5) == pytest.approx(0.5 + middle / 2, rel=1e-6)
    assert binomial_p_value(2, 10**8, 3e-8) == pytest.approx(8.5 / np.exp(3), rel=1e-6)


@pytest.mark.parametrize("num_failures", [9_000, 9_800, 10_000, 10_150, 12_000])
def test_terms_left_out_of_a_large_tail_do_not_count(num_failures: int) -> None:
    terms, term = 0, 1
    for k in range(num_failures + 1):
        terms += term
        term = term * (20_000 - k) // (k + 1)
    expected = float(Fraction(terms, 2**20_000))
    assert binomial_p_value(num_failures, 20_000, 0.5) == pytest.approx(expected, rel=1e-9)


def test_of_a_thousand_images_four_may_fail_for_one_percent_with_95_percent() -> None:
    """P[Bin(1000, 0.01) <= 4] = 2.9 %, and 6.6 % for 5."""
    assert most_failures(1000, 0.01, 0.05) == 4
    assert binomial_p_value(5, 1000, 0.01) > 0.05


def test_fewer_than_299_images_prove_nothing_about_one_percent() -> None:
    """0.99^298 = 5.003 %, 0.99^299 = 4.95 %."""
    assert fewest_images(0.01, 0.05) == 299
    assert most_failures(298, 0.01, 0.05) is None
    assert most_failures(299, 0.01, 0.05) == 0


def test_fewest_bets_is_where_a_sample_without_losses_begins_to_prove_the_bound() -> None:
    enough = fewest_bets(0.01, 0.05)
    assert fewest_images(0.01, 0.05) <= enough < 1.5 * fewest_images(0.01, 0.05)
    for number, proves in ((enough, True), (round(0.98 * enough), False)):
        no_losses = np.zeros(number)
        bet = good_bet(no_losses, number, 0.01, 0.05)
        assert (betting_p_value(no_losses, 0.01, bet) <= 0.05) is proves


@pytest.mark.parametrize(("plus", "minus"), [(0.02, 0.0), (0.05, 0.03), (0.3, 0.28)])
def test_the_betting_test_is_wrong_no_more_often_than_its_level(plus: float, minus: float) -> None:
    """The mean is 2 %, so "larger than 2 %" is just not false; rejecting it is the error."""
    random, rejected = np.random.default_rng(3), 0
    for _ in range(400):
        values = random.choice([1.0, -1.0, 0.0], 1600, p=[plus, minus, 1 - plus - minus])
        bet = good_bet(values[:800], 800, 0.02, 0.1)
        rejected += betting_p_value(values[800:], 0.02, bet) <= 0.1
    # 10 % of 400 are 40; 58 or more have a probability below 0.2 %.
    assert rejected < 58


def test_the_betting_test_finds_a_small_mean_small() -> None:
    """Nearly as well as the exact test can, where that can be used."""
    losses = np.zeros(2000)
    losses[::286] = 1.0  # 7 of them
    assert binomial_p_value(7, 2000, 0.01) < 0.001
    assert betting_p_value(losses, 0.01, good_bet(losses, 2000, 0.01, 0.05)) < 0.05


def test_a_sample_without_any_value_proves_nothing() -> None:
    assert betting_p_value(np.empty(0), 0.01, 0.5) == 1.0
