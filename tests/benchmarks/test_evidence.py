"""The arithmetic of the evidence: bootstrap, choice of thresholds, savings, shares."""

import numpy as np
import pytest

from benchmarks.evidence.bootstrap import means, paired_difference, resamples
from benchmarks.evidence.measure import class_figures, curve_figures
from benchmarks.evidence.savings import NONE, cheapest_reaching, saving
from benchmarks.evidence.throughput import summary
from tests.benchmarks.made_up_records import CLASSES, COSTS, made_up_model

WAYS = ("held_out", "equal_on_test")


def test_a_round_draws_as_many_pictures_as_there_are_and_the_same_for_the_same_seed() -> None:
    counts = resamples(50, seed=3, rounds=20)
    assert np.array_equal(counts.sum(axis=1), np.full(20, 50))
    assert np.array_equal(counts, resamples(50, seed=3, rounds=20))
    assert not np.array_equal(counts, resamples(50, seed=4, rounds=20))


def test_means_count_a_picture_as_often_as_it_was_drawn() -> None:
    """Of four images the first is drawn three times and the last once: (3 * 1 + 5) / 4 = 2."""
    counts = np.array([[3.0, 0.0, 0.0, 1.0]])
    assert means(counts, np.array([[1.0, 7.0, 9.0, 5.0]])) == pytest.approx(np.array([[2.0]]))


def test_the_interval_of_a_share_is_as_wide_as_in_theory() -> None:
    """Half of 900 images right: 2 * 1.96 * sqrt(0.25 / 900) = 0.0653."""
    half = np.arange(900) % 2 == 0
    found = paired_difference(resamples(900, seed=0), half, np.zeros(900, dtype=bool))
    assert found.value == 0.5
    assert found.high - found.low == pytest.approx(0.0653, rel=0.1)


def test_what_is_hard_for_both_models_cancels_out_of_a_paired_difference() -> None:
    """One model is right on 10 more images, and on the same ones otherwise."""
    other = np.arange(1000) % 2 == 0
    one = other | (np.arange(1000) % 100 == 1)
    found = paired_difference(resamples(1000, seed=0), one, other)
    assert found.value == pytest.approx(0.01)
    assert 0 < found.low < 0.01 < found.high < 0.02


def test_the_cheapest_that_reaches_is_found_in_every_round() -> None:
    costs = np.array([[1.0, 2.0, 3.0]] * 3)
    accuracies = np.array([[0.5, 0.7, 0.9], [0.5, 0.95, 0.9], [0.5, 0.6, 0.7]])
    chosen = cheapest_reaching(costs, accuracies, np.array([0.9, 0.9, 0.9]))
    assert chosen.tolist() == [2, 1, NONE]


def test_a_cascade_saves_against_a_model_that_is_as_good_as_its_last_exit() -> None:
    """The static model costs as much as the whole cascade; easy images need a twelfth of it."""
    cascade = made_up_model("cascade", (0.3, 0.6, 0.9))
    static = made_up_model("static", (0.9,), costs=(COSTS[-1],))
    savings = saving(cascade, static)
    assert tuple(savings) == WAYS
    for figures in savings.values():
        found = figures["saving"]
        assert 1 < found["value"] <= COSTS[-1] / COSTS[0]
        assert found["low"] <= found["value"] <= found["high"]
        assert found["value"] == pytest.approx(COSTS[-1] / figures["gmacs"])


def test_accuracy_is_reached_where_it_is_chosen_and_elsewhere_only_nearly() -> None:
    cascade = made_up_model("cascade", (0.3, 0.6, 0.9))
    static = made_up_model("static", (0.8,), costs=(COSTS[-1],))
    savings = saving(cascade, static)
    on_test = savings["equal_on_test"]
    assert on_test["accuracy"] >= on_test["static_accuracy"] - 1e-12
    assert abs(savings["held_out"]["accuracy_difference"]["value"]) < 0.05


def test_an_accuracy_out_of_reach_saves_nothing() -> None:
    cascade = made_up_model("cascade", (-1.0, -0.9, -0.8))
    static = made_up_model("static", (3.0,), costs=(0.05,))
    for figures in saving(cascade, static).values():
        assert figures["saving"] is None
        assert figures["share_of_rounds_reached"] == 0


def test_a_curve_goes_from_the_first_exit_to_full_depth_beside_its_exits() -> None:
    cascade = made_up_model("cascade", (0.0, 0.6, 1.0))
    static = made_up_model("static", (0.5,), costs=(0.02,))
    figures = curve_figures(cascade, {2: static})
    points = figures["points"]
    assert points[0]["gmacs"] == pytest.approx(COSTS[0])
    assert points[-1]["gmacs"] == pytest.approx(COSTS[-1])
    assert points[-1]["accuracy"] == figures["exits"][-1]["accuracy"]
    assert all(point["low"] < point["accuracy"] < point["high"] for point in points)
    assert figures["own_thresholds"]["thresholds"] == (0.8, 0.7)
    (beside,) = figures["statics"]
    gap = figures["exits"][1]["accuracy"] - beside["accuracy"]
    assert beside["exit_less_static"]["value"] == pytest.approx(gap)


def test_shares_of_a_class_sum_to_one_and_average_to_those_of_all_pictures() -> None:
    cascade = made_up_model("cascade", (0.2, 0.6, 1.0), num_images=600)
    classes = class_figures(cascade)["classes"]
    assert [one["class"] for one in classes] == list(CLASSES)
    assert sum(one["num_images"] for one in classes) == 600
    default = curve_figures(cascade, {})["own_thresholds"]
    weights = [one["num_images"] for one in classes]
    accuracies = [one["accuracy"] for one in classes]
    assert np.average(accuracies, weights=weights) == pytest.approx(default["accuracy"])
    shares = np.average([one["shares"] for one in classes], axis=0, weights=weights)
    assert shares * 600 == pytest.approx(np.array(default["exits"]))


def test_the_speedup_is_the_median_ratio_of_neighbouring_rounds() -> None:
    """In the second round, the machine was twice as slow for both."""
    figures = summary([1.0, 2.0, 1.0], [2.0, 4.0, 1.5], num_images=100)
    assert figures["images_per_second"] == 100
    assert figures["static_images_per_second"] == 50
    assert (figures["ratio_low"], figures["ratio"], figures["ratio_high"]) == (1.5, 2.0, 2.0)
