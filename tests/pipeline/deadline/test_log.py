"""What was used when is taken down in order, kept over runs, and written only when it is new."""

import logging
from pathlib import Path

import pytest

from pipeline.deadline.log import THRESHOLDS_USED, ThresholdsUsed, read_thresholds_used
from pipeline.errors import OutputFailedError, StaleEpochError, UsageError
from pipeline.storage import open_output_store


def holds() -> None:
    """No later run has the output."""


def test_entries_of_earlier_runs_stay_in_front(tmp_path: Path) -> None:
    place = open_output_store(tmp_path)
    assert read_thresholds_used(place) == ()
    for run in ("first", "second"):
        used = ThresholdsUsed(place, run, holds)
        used.add(1.23456, 0, 0, (2.0, 2.0))
        used.write_if_due()
        used.add(9.0, 70, 3, (0.9, 0.8))
        used.write()
        assert len(used.of_this_run) == 2
    entries = read_thresholds_used(place)
    assert [(e.run, e.seconds, e.images, e.threshold_set) for e in entries] == [
        ("first", 1.235, 0, 0),
        ("first", 9.0, 70, 3),
        ("second", 1.235, 0, 0),
        ("second", 9.0, 70, 3),
    ]
    assert entries[-1].thresholds == (0.9, 0.8)


def test_it_is_written_at_once_and_then_not_too_often(tmp_path: Path) -> None:
    used = ThresholdsUsed(open_output_store(tmp_path), "run", holds)
    used.write_if_due()
    assert not (tmp_path / THRESHOLDS_USED).exists()
    used.add(1.0, 0, 0, (2.0,))
    used.write()
    before = (tmp_path / THRESHOLDS_USED).read_bytes()
    used.add(2.0, 9, 1, (0.9,))
    used.write_if_due()
    assert (tmp_path / THRESHOLDS_USED).read_bytes() == before
    used.write()
    assert (tmp_path / THRESHOLDS_USED).read_bytes() != before


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / THRESHOLDS_USED).write_text('[{"run": 1}]')
    with pytest.raises(UsageError, match=r"thresholds_used\.json .* is damaged"):
        ThresholdsUsed(open_output_store(tmp_path), "run", holds)


def test_a_run_that_was_replaced_writes_nothing_over_the_later_one(tmp_path: Path) -> None:
    def is_replaced() -> None:
        raise StaleEpochError("out: a later run has it")

    place = open_output_store(tmp_path)
    stale = ThresholdsUsed(place, "old", is_replaced)
    stale.add(1.0, 0, 0, (2.0,))
    used = ThresholdsUsed(place, "new", holds)
    used.add(1.0, 0, 0, (2.0,))
    used.write()
    stale.write()
    assert [entry.run for entry in read_thresholds_used(place)] == ["new"]


def test_a_storage_that_fails_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [OutputFailedError("no space left")]

    def fails_once() -> None:
        if failures:
            raise failures.pop()

    used = ThresholdsUsed(open_output_store(tmp_path), "run", fails_once)
    used.add(1.0, 0, 0, (2.0,))
    with caplog.at_level(logging.WARNING):
        used.write()
    assert "no space left" in caplog.text
    used.write()
    assert (tmp_path / THRESHOLDS_USED).exists()
