"""The ladder of the shipped model, and what is said of one."""

import numpy as np
import pytest

import dvt
from dvt.calibration import binomial_p_value, evaluate_thresholds, share_lost_at_worst
from jobs.calibration.recorded_exits import calibrated_model, load_calibration_set
from jobs.calibration.threshold_schedule import load_threshold_schedule
from jobs.calibration.thresholds import DEFAULT_DELTA
from jobs.commands.deadline_text import deadline_lines
from pipeline.deadline.log import DeadlineOutcome
from pipeline.errors import UsageError
from pipeline.output.metadata import Summary

IDENTITY = calibrated_model(dvt.load_model("shapes"))


def are_nested(rows: list[tuple[float, ...]]) -> bool:
    return bool((np.diff(np.array(rows), axis=0) <= 0).all())


def test_every_rung_of_the_shipped_model_is_certified_for_a_drop() -> None:
    ladder = load_threshold_schedule("shapes", max_drop=0.01, floor=None)
    _, second = load_calibration_set("shapes", IDENTITY).halves()
    assert len(ladder.threshold_sets) > 24
    assert ladder.threshold_sets[0].thresholds == (2.0, 2.0)
    assert are_nested([threshold_set.thresholds for threshold_set in ladder.threshold_sets])
    for threshold_set in ladder.threshold_sets:
        lost = share_lost_at_worst(
            second.confidences, second.right("accuracy"), threshold_set.thresholds
        )
        number = second.num_images
        assert binomial_p_value(round(lost * number), number, 0.01) <= DEFAULT_DELTA
    assert ladder.threshold_sets[-1].gmacs < 0.2 * ladder.threshold_sets[0].gmacs
    assert ladder.known[0] == (
        "certified, whichever are used when: at most 1 % of accuracy is lost against full depth, "
        "95 % sure"
    )


def test_every_rung_of_the_shipped_model_is_above_its_floor() -> None:
    ladder = load_threshold_schedule("shapes", max_drop=None, floor=0.97)
    held_out = load_calibration_set("shapes", IDENTITY)
    _, second = held_out.halves()
    assert are_nested([threshold_set.thresholds for threshold_set in ladder.threshold_sets])
    for threshold_set in ladder.threshold_sets:
        right = second.right("accuracy")
        lost = share_lost_at_worst(second.confidences, right, threshold_set.thresholds)
        assert right[-1].mean() - lost >= 0.97
        point = evaluate_thresholds(
            held_out.confidences,
            held_out.right("accuracy"),
            threshold_set.thresholds,
            IDENTITY.gmacs_per_exit,
        )
        assert point.gmacs == pytest.approx(threshold_set.gmacs)
    assert len(ladder.threshold_sets) > 24
    assert ladder.known[0].startswith(
        "expected, whichever are used when: accuracy of at least 97 % on "
    )


def test_a_floor_above_full_depth_is_refused() -> None:
    with pytest.raises(UsageError, match=r"floor: must be at most full depth's accuracy .* 98\."):
        load_threshold_schedule("shapes", max_drop=None, floor=0.999)


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
                "deadline 2h00m: ended after 1h58m; thresholds moved 12 times between full depth "
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
                "deadline 2h00m: ended after 2h30m; thresholds moved once between full depth "
                "and 0.5",
                "the deadline was missed, though thresholds went down to the loosest allowed, 0.5",
            ),
        ),
        (
            summary(9000, (0.7,), 1),
            (
                "deadline 2h00m: ended after 2h30m; thresholds moved once between full depth "
                "and 0.7",
                "the deadline was missed",
            ),
        ),
    ],
)
def test_what_became_of_a_deadline_is_told(told: Summary, lines: tuple[str, ...]) -> None:
    assert deadline_lines(told) == lines
