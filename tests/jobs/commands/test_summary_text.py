"""The lines that report how a run with a deadline ended."""

import pytest

from jobs.commands.summary_text import deadline_lines
from pipeline.deadline.log import DeadlineOutcome
from pipeline.output.metadata import Summary


def summary(ended_s: float, loosest: tuple[float, ...] | None, moves: int) -> Summary:
    return Summary(
        images=10,
        tagged=10,
        dead_letters=0,
        other_files=0,
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
    ("ended", "lines"),
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
def test_the_end_of_a_deadline_is_reported(ended: Summary, lines: tuple[str, ...]) -> None:
    assert deadline_lines(ended) == lines
