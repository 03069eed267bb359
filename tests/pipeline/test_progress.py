"""The remaining time of a run."""

import pytest

from jobs.progress import progress_line
from pipeline.progress import Progress


def progress(num_tagged: int, elapsed_s: float, num_images: int | None = 10_000) -> Progress:
    return Progress(num_images, 0, num_tagged, 1, (num_tagged,), elapsed_s)


@pytest.mark.parametrize(("num_tagged", "elapsed_s"), [(0, 100.0), (50, 100.0), (5000, 20.0)])
def test_there_is_no_estimate_in_the_beginning(num_tagged: int, elapsed_s: float) -> None:
    assert progress(num_tagged, elapsed_s).seconds_left is None
    assert "left" not in progress_line(progress(num_tagged, elapsed_s))


def test_the_remaining_time_is_that_of_the_mean_throughput() -> None:
    assert progress(999, 40.0).seconds_left == 360.0
    assert progress(999, 40.0, None).seconds_left is None
    assert progress_line(progress(999, 40.0)) == (
        "1,000 of 10,000 images · 25/s · exits 100 % · 1 dead letter · 6:00 left"
    )
