"""Schedules of the shipped model, and what is reported of a deadline."""

import numpy as np
import pytest

import dvt
from dvt.calibration import ThresholdSet, binomial_p_value, mean_gmacs, share_lost_at_worst
from dvt.errors import ModelError
from jobs.calibration.fit import DEFAULT_DELTA
from jobs.calibration.recorded_exits import calibrated_model, load_calibration_set
from jobs.calibration.thresholds import ThresholdOptions, choose_thresholds
from jobs.commands.summary_text import deadline_lines
from pipeline.deadline.log import DeadlineOutcome
from pipeline.output.metadata import Summary

MODEL = dvt.load_model("shapes")
IDENTITY = calibrated_model(MODEL)
RECORDED = load_calibration_set("shapes", IDENTITY)


def chosen(**limit: float) -> tuple[tuple[ThresholdSet, ...], tuple[str, ...]]:
    """Threshold sets and promises of a run with a deadline and this limit."""
    options = ThresholdOptions.model_validate({"deadline": "1h", **limit})
    choice = choose_thresholds(options, "shapes", MODEL)
    assert choice.deadline is not None
    sets = choice.deadline.threshold_sets
    assert choice.thresholds == sets[-1].thresholds
    return sets, choice.promises


def are_nested(sets: tuple[ThresholdSet, ...]) -> bool:
    rows = np.array([each.thresholds for each in sets])
    return bool((np.diff(rows, axis=0) <= 0).all())


def test_every_set_of_the_shipped_model_is_certified_for_a_drop() -> None:
    sets, (promise, reach) = chosen(max_drop=0.01)
    _, second = RECORDED.halves()
    assert len(sets) > 24
    assert sets[0].thresholds == (2.0, 2.0)
    assert are_nested(sets)
    for each in sets:
        num_lost = round(share_lost_at_worst(second, each.thresholds) * second.num_images)
        assert binomial_p_value(num_lost, second.num_images, 0.01) <= DEFAULT_DELTA
    assert sets[-1].gmacs < 0.2 * sets[0].gmacs
    assert promise == (
        "certified at any time of the run: at most 1 % of accuracy is lost against full depth, "
        "95 % sure"
    )
    assert reach.startswith(f"{len(sets)} sets of thresholds, down to ")


def test_every_set_of_the_shipped_model_is_above_its_floor() -> None:
    sets, (promise, _) = chosen(floor=0.97)
    _, second = RECORDED.halves()
    assert are_nested(sets)
    assert len(sets) > 24
    for each in sets:
        lost = share_lost_at_worst(second, each.thresholds)
        assert second.right("accuracy")[-1].mean() - lost >= 0.97
        assert each.gmacs == pytest.approx(
            mean_gmacs(RECORDED.confidences, each.thresholds, IDENTITY.gmacs_per_exit)
        )
    assert promise.startswith("expected at any time of the run: accuracy of at least 97 % on ")


def test_a_floor_above_full_depth_is_refused() -> None:
    with pytest.raises(ModelError, match=r"floor: must be at most full depth's accuracy .* 98\."):
        chosen(floor=0.999)


def summary(ended_s: float, loosest: tuple[float, ...] | None, moves: int) -> Summary:
    return Summary(
        images=10,
        tagged=10,
        dead_letters=0,
        skipped=0,
        exits=(5, 5),
        gmacs_per_image=2.0,
        gmacs_full_depth=4.0,
        seconds=1.0,
        images_per_second=10.0,
        out="out",
        deadline=DeadlineOutcome(
            deadline_s=7200,
            ended_s=ended_s,
            moves=moves,
            safest=None if loosest is None else (2.0,),
            loosest=loosest,
            loosest_allowed=(0.5,),
        ),
    )


@pytest.mark.parametrize(
    ("told", "lines"),
    [
        (
            summary(7110, (0.625,), 12),
            (
                "deadline 2h00m: ended after 1h58m; thresholds changed 12 times between full depth "
                "and 0.625",
            ),
        ),
        (
            summary(90, (2.0,), 0),
            ("deadline 2h00m: ended after 1m30s; thresholds stayed at full depth",),
        ),
        (summary(40.5, None, 0), ("deadline 2h00m: ended after 40.5s",)),
        (
            summary(9000, (0.5,), 1),
            (
                "deadline 2h00m: ended after 2h30m; thresholds changed once between full depth "
                "and 0.5",
                "the deadline was missed even with the loosest thresholds allowed, 0.5",
            ),
        ),
        (
            summary(9000, (0.7,), 1),
            (
                "deadline 2h00m: ended after 2h30m; thresholds changed once between full depth "
                "and 0.7",
                "the deadline was missed",
            ),
        ),
    ],
)
def test_what_became_of_a_deadline_is_told(told: Summary, lines: tuple[str, ...]) -> None:
    assert deadline_lines(told) == lines
