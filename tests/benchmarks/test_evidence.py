"""The arithmetic of the evidence: bootstrap, choice of thresholds, savings, shares."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.evidence.bootstrap import means, paired_difference, resamples
from benchmarks.evidence.families import (
    NONE,
    Judged,
    cheapest_reaching,
    fitted_family,
    interpolated,
)
from benchmarks.evidence.pictures import class_figures, easiest_and_hardest
from benchmarks.evidence.records import Exits, Record
from benchmarks.evidence.savings import WAYS, families_of, saving
from benchmarks.evidence.signals import signals_of
from benchmarks.evidence.throughput import summary
from pipeline.errors import UsageError
from tests.benchmarks.made_up_records import CLASSES, COSTS, made_up_record


def test_a_round_draws_as_many_pictures_as_there_are_and_the_same_for_the_same_seed() -> None:
    counts = resamples(50, seed=3, rounds=20)
    assert np.array_equal(counts.sum(axis=1), np.full(20, 50))
    assert np.array_equal(counts, resamples(50, seed=3, rounds=20))
    assert not np.array_equal(counts, resamples(50, seed=4, rounds=20))


def test_means_count_a_picture_as_often_as_it_was_drawn() -> None:
    """Of four pictures the first is drawn three times and the last once: (3 * 1 + 5) / 4 = 2."""
    counts = np.array([[3.0, 0.0, 0.0, 1.0]])
    assert means(counts, np.array([[1.0, 7.0, 9.0, 5.0]])) == pytest.approx(np.array([[2.0]]))


def test_the_interval_of_a_share_is_as_wide_as_theory_has_it() -> None:
    """Half of 900 pictures right: 2 * 1.96 * sqrt(0.25 / 900) = 0.0653."""
    half = np.arange(900) % 2 == 0
    found = paired_difference(resamples(900, seed=0), half, np.zeros(900, dtype=bool))
    assert found.value == 0.5
    assert found.high - found.low == pytest.approx(0.0653, rel=0.1)


def test_what_is_hard_for_both_models_cancels_out_of_a_paired_difference() -> None:
    """The one model is right on 10 pictures more, and on the same ones otherwise."""
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


def test_between_two_points_a_curve_is_a_straight_line_in_any_order_of_points() -> None:
    found = interpolated(np.array([4.0, 2.0]), np.array([0.8, 0.6]), np.array([1.0, 3.0, 9.0]))
    assert found == pytest.approx(np.array([0.6, 0.7, 0.8]))


def test_signals_are_read_off_the_scores() -> None:
    scores = np.array([[[0.5, 0.3, 0.2], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]], np.float32)
    exits = Exits.of_scores(scores, np.array([0, 1, 2]), ("a", "b", "c"))
    assert exits.confidences[0] == pytest.approx([0.5, 1.0, 1 / 3])
    assert exits.margins[0] == pytest.approx([0.2, 1.0, 0.0])
    assert exits.certainties[0, 1:] == pytest.approx([1.0, 0.0], abs=1e-6)
    assert exits.correct.tolist() == [[True, False, False]]


def test_a_family_goes_from_the_first_exit_to_full_depth_within_its_budgets() -> None:
    record = made_up_record("cascade", (0.0, 0.6, 1.0)).validation
    family = fitted_family(record.confidences, record.correct, COSTS, num_budgets=10)
    judged = Judged.of(family, record.confidences, record.correct, COSTS)
    costs = judged.gmacs.mean(axis=1)
    assert costs.min() == pytest.approx(COSTS[0])
    assert costs.max() == pytest.approx(COSTS[-1])
    assert len(np.unique(family, axis=0)) == len(family) > 5
    assert np.array_equal(judged.correct[0], record.correct[0])


@pytest.mark.parametrize("way", WAYS)
def test_a_cascade_saves_against_a_model_that_is_as_good_as_its_last_exit(way: str) -> None:
    """The static model costs as much as the whole cascade; easy pictures need a twelfth of it."""
    cascade = made_up_record("cascade", (0.3, 0.6, 0.9))
    static = made_up_record("static", (0.9,), costs=(COSTS[-1],))
    figures = saving(cascade, static, way, families_of(cascade)[way])
    found = figures["saving"]
    assert 1 < found["value"] <= COSTS[-1] / COSTS[0]
    assert found["low"] <= found["value"] <= found["high"]
    assert found["value"] == pytest.approx(COSTS[-1] / figures["gmacs"])
    assert sum(figures["exits"]) == len(cascade.test.labels)


def test_chosen_on_the_judges_the_accuracy_is_reached_and_on_others_only_nearly() -> None:
    cascade = made_up_record("cascade", (0.3, 0.6, 0.9))
    static = made_up_record("static", (0.8,), costs=(COSTS[-1],))
    families = families_of(cascade)
    for way in ("equal_on_test", "chosen_on_test"):
        figures = saving(cascade, static, way, families[way])
        assert figures["accuracy"] >= figures["static_accuracy"] - 1e-12
    figures = saving(cascade, static, "held_out", families["held_out"])
    assert abs(figures["accuracy_difference"]["value"]) < 0.05


@pytest.mark.parametrize("way", WAYS)
def test_an_accuracy_that_is_out_of_reach_saves_nothing_and_is_said(way: str) -> None:
    cascade = made_up_record("cascade", (-1.0, -0.9, -0.8))
    static = made_up_record("static", (3.0,), costs=(0.05,))
    figures = saving(cascade, static, way, families_of(cascade)[way])
    assert figures["saving"] is None
    assert figures["share_of_rounds_reached"] == 0


def test_models_of_other_pictures_are_not_compared() -> None:
    cascade, static = made_up_record("cascade", (0.0, 0.5, 1.0)), made_up_record("static", (1.0,))
    test = static.facts.test.model_copy(update={"digest": "another"})
    other = Record(static.facts.model_copy(update={"test": test}), static.validation, static.test)
    with pytest.raises(UsageError, match="cascade and static have other test pictures"):
        saving(cascade, other, "held_out", np.zeros((1, 2)))


def test_signals_that_rank_pictures_alike_give_the_same_curve() -> None:
    """With the rest shared evenly, margin and entropy say what confidence says."""
    for row in signals_of(made_up_record("cascade", (0.2, 0.6, 1.0))):
        assert COSTS[0] < row["gmacs"] < COSTS[-1]
        for difference in row["difference"].values():
            assert abs(difference["value"]) < 0.02


def test_a_record_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    record = made_up_record("short/cascade", (0.2, 0.6, 1.0), num_images=20)
    record.save(tmp_path / "record.npz")
    loaded = Record.load(tmp_path / "record.npz")
    assert loaded.facts == record.facts
    assert np.array_equal(loaded.test.certainties, record.test.certainties)
    assert loaded.validation.keys.tolist() == record.validation.keys.tolist()


def test_a_damaged_record_is_named_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "record.npz"
    path.write_bytes(b"no record")
    with pytest.raises(UsageError, match=r"record\.npz is damaged"):
        Record.load(path)


def test_shares_of_a_class_add_up_and_others_do_not_count() -> None:
    record = made_up_record("cascade", (0.2, 0.6, 1.0), num_images=60)
    exits_n = np.where(record.test.labels == 1, 2, 0)
    cat, dog, _ = class_figures(record.test, exits_n, CLASSES)
    assert cat["shares"] == [1, 0, 0]
    assert dog["shares"] == [0, 0, 1]
    assert dog["accuracy"] == dog["accuracy_full_depth"]
    assert sum(one["num_images"] for one in (cat, dog)) == np.count_nonzero(record.test.labels < 2)


def test_the_easiest_leave_first_and_the_hardest_last() -> None:
    test = made_up_record("cascade", (0.2, 0.6, 1.0), num_images=200).test
    exits_n = np.where(test.confidences[0] > 0.8, 0, np.where(test.confidences[0] > 0.5, 1, 2))
    easiest, hardest = easiest_and_hardest(test, exits_n, class_id=2, number=5)
    assert np.all(test.labels[np.concatenate([easiest, hardest])] == 2)
    assert np.all(np.diff(test.confidences[0, easiest]) <= 0)
    assert np.all(np.diff(test.confidences[0, hardest]) >= 0)
    assert test.confidences[0, easiest].min() > 0.8 > 0.5 >= test.confidences[0, hardest].max()


def test_the_ratio_on_the_clock_is_that_of_neighbouring_rounds() -> None:
    """The second round found the machine twice as slow for both."""
    figures = summary([1.0, 2.0, 1.0], [2.0, 4.0, 1.5], num_images=100)
    assert figures["images_per_second"] == 100
    assert figures["static_images_per_second"] == 50
    assert (figures["ratio_low"], figures["ratio"], figures["ratio_high"]) == (1.5, 2.0, 2.0)
