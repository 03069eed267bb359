"""The ladder of the shipped model, and what is said of one."""

import numpy as np
import pytest

import dvt
from dvt.calibration import binomial_p_value, evaluate_thresholds, share_lost_at_worst
from jobs.commands.deadline_text import deadline_lines
from jobs.calibration.recorded_exits import calibrated_model, kept_held_out
from jobs.calibration.threshold_schedule import kept_ladder
from jobs.calibration.thresholds import DEFAULT_DELTA
from pipeline.errors import UsageError
from pipeline.output.metadata import Summary
from pipeline.deadline.log import DeadlineOutcome

IDENTITY = calibrated_model(dvt.load_model("shapes"))


def are_nested(rows: list[tuple[float, ...]]) -> bool:
    return bool((np.diff(np.array(rows), axis=0) <= 0).all())


def test_every_rung_of_the_shipped_model_is_certified_for_a_drop() -> None:
    ladder = kept_ladder("shapes", max_drop=0.01, floor=None)
    _, second = kept_held_out("shapes", IDENTITY).halves()
    assert len(ladder.rungs) > 24
    assert ladder.rungs[0].thresholds == (2.0, 2.0)
    assert are_nested([rung.thresholds for rung in ladder.rungs])
    for rung in ladder.rungs:
        lost = share_lost_at_worst(second.confidences, second.right("accuracy"), rung.thresholds)
        number = second.num_images
        assert binomial_p_value(round(lost * number), number, 0.01) <= DEFAULT_DELTA
    assert ladder.rungs[-1].gmacs < 0.2 * ladder.rungs[0].gmacs
    assert ladder.known[0] == (
        "certified, whichever are used when: at most 1 % of accuracy is lost against full depth, "
        "95 % sure"
    )


def test_every_rung_of_the_shipped_model_is_above_its_floor() -> None:
    ladder = kept_ladder("shapes", max_drop=None, floor=0.97)
    held_out = kept_held_out("shapes", IDENTITY)
    _, second = held_out.halves()
    assert are_nested([rung.thresholds for rung in ladder.rungs])
    for rung in ladder.rungs:
        right = second.right("accuracy")
        lost = share_lost_at_worst(second.confidences, right, rung.thresholds)
        assert right[-1].mean() - lost >= 0.97
        point = evaluate_thresholds(
            held_out.confidences,
            held_out.right("accuracy"),
            rung.thresholds,
            IDENTITY.gmacs_per_exit,
        )
        assert point.gmacs == pytest.approx(rung.gmacs)
    assert len(ladder.rungs) > 24
    assert ladder.known[0].startswith(
        "expected, whichever are used when: accuracy of at least 97 % on "
    )


def test_a_floor_above_full_depth_is_refused() -> None:
    with pytest.raises(UsageError, match=r"floor: must be at most full depth's accuracy .* 98\."):
        kept_ladder("shapes", max_drop=None, floor=0.999)


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
