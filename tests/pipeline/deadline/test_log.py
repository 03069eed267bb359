"""The threshold log keeps the changes of all runs in order, and is written only when it changed."""

import logging
from pathlib import Path

import pytest

from pipeline.deadline.log import THRESHOLD_LOG, ThresholdLog, read_threshold_log
from pipeline.errors import OutputFailedError, StaleEpochError, UsageError
from pipeline.storage import open_output_store


def is_current() -> None:
    """No later run has the output."""


def test_changes_of_earlier_runs_stay_in_front(tmp_path: Path) -> None:
    store = open_output_store(tmp_path)
    assert read_threshold_log(store) == ()
    for run in ("first", "second"):
        log = ThresholdLog(store, run, is_current)
        log.add(1.23456, 0, 0, (2.0, 2.0))
        log.write_if_due()
        log.add(9.0, 70, 3, (0.9, 0.8))
        log.write()
        assert len(log.of_this_run) == 2
    changes = read_threshold_log(store)
    assert [(c.run, c.seconds, c.images, c.threshold_set) for c in changes] == [
        ("first", 1.235, 0, 0),
        ("first", 9.0, 70, 3),
        ("second", 1.235, 0, 0),
        ("second", 9.0, 70, 3),
    ]
    assert changes[-1].thresholds == (0.9, 0.8)


def test_it_is_written_at_once_and_then_at_intervals(tmp_path: Path) -> None:
    log = ThresholdLog(open_output_store(tmp_path), "run", is_current)
    log.write_if_due()
    assert not (tmp_path / THRESHOLD_LOG).exists()
    log.add(1.0, 0, 0, (2.0,))
    log.write()
    before = (tmp_path / THRESHOLD_LOG).read_bytes()
    log.add(2.0, 9, 1, (0.9,))
    log.write_if_due()
    assert (tmp_path / THRESHOLD_LOG).read_bytes() == before
    log.write()
    assert (tmp_path / THRESHOLD_LOG).read_bytes() != before


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / THRESHOLD_LOG).write_text('[{"run": 1}]')
    with pytest.raises(UsageError, match=r"thresholds_used\.json .* is damaged"):
        ThresholdLog(open_output_store(tmp_path), "run", is_current)


def test_a_stale_run_does_not_overwrite_the_later_one(tmp_path: Path) -> None:
    def is_stale() -> None:
        raise StaleEpochError("out: a later run has it")

    store = open_output_store(tmp_path)
    stale = ThresholdLog(store, "old", is_stale)
    stale.add(1.0, 0, 0, (2.0,))
    log = ThresholdLog(store, "new", is_current)
    log.add(1.0, 0, 0, (2.0,))
    log.write()
    stale.write()
    assert [change.run for change in read_threshold_log(store)] == ["new"]


def test_a_failed_write_is_logged_and_retried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [OutputFailedError("no space left")]

    def fails_once() -> None:
        if failures:
            raise failures.pop()

    log = ThresholdLog(open_output_store(tmp_path), "run", fails_once)
    log.add(1.0, 0, 0, (2.0,))
    with caplog.at_level(logging.WARNING):
        log.write()
    assert "no space left" in caplog.text
    log.write()
    assert (tmp_path / THRESHOLD_LOG).exists()
