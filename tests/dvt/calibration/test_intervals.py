"""The interval of an audit holds the truth as often as it says."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from dvt.calibration import binomial_p_value, clopper_pearson


def test_both_ends_leave_exactly_half_of_the_rest() -> None:
    lower, upper = clopper_pearson(45, 50)
    assert binomial_p_value(45, 50, upper) == pytest.approx(0.025, rel=1e-6)
    assert binomial_p_value(5, 50, 1 - lower) == pytest.approx(0.025, rel=1e-6)


def test_textbook_values_are_met() -> None:
    """0 of 10: 1 - 0.025^(1/10) = 30.85 %; 10 of 10 mirrors it."""
    assert clopper_pearson(0, 10) == pytest.approx((0.0, 1 - 0.025**0.1), abs=1e-9)
    assert clopper_pearson(10, 10) == pytest.approx((0.025**0.1, 1.0), abs=1e-9)
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("truth", [Fraction(1, 100), Fraction(1, 2), Fraction(97, 100)])
def test_the_coverage_summed_over_all_outcomes_is_at_least_what_was_asked(truth: Fraction) -> None:
    covered = Fraction(0)
    for number in range(61):
        lower, upper = clopper_pearson(number, 60)
        if lower <= truth <= upper:
            covered += comb(60, number) * truth**number * (1 - truth) ** (60 - number)
    assert covered >= Fraction(95, 100)


def test_audits_hold_the_truth_in_at_least_95_of_100() -> None:
    """4,000 audits of an archive 98.7 % of whose early answers agree.

    A hundred would not suffice: even intervals with exactly 95 % hold it in fewer than 95 of 100
    audits in two runs of five.
    """
    random, num_audits = np.random.default_rng(7), 4000
    archive_size, num_agreeing = 100_000, 98_700
    agreeing = random.hypergeometric(num_agreeing, archive_size - num_agreeing, 1000, num_audits)
    intervals = {count: clopper_pearson(int(count), 1000) for count in np.unique(agreeing)}
    held = sum(intervals[count][0] <= 0.987 <= intervals[count][1] for count in agreeing)
    assert held >= 0.95 * num_audits


def test_a_large_audit_is_answered_with_a_narrow_interval() -> None:
    lower, upper = clopper_pearson(999_000, 1_000_000)
    assert 0.9989 < lower < 0.999 < upper < 0.9991


def test_the_interval_of_ten_million_is_the_normal_one_with_its_correction() -> None:
    """0.5 -+ (1.959964 / (2 sqrt(n)) + 1 / (2 n)); half of them, so the longest sum."""
    lower, upper = clopper_pearson(5_000_000, 10_000_000)
    half = 1.959964 / (2 * 10_000_000**0.5) + 0.5 / 10_000_000
    assert (lower, upper) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-9)


@pytest.mark.parametrize(("successes", "images", "sure"), [(-1, 5, 0.9), (6, 5, 0.9), (1, 5, 1.0)])
def test_impossible_counts_are_refused(successes: int, images: int, sure: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        clopper_pearson(successes, images, sure)
