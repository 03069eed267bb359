"""What was used when is taken down in order, kept over runs, and written only when it is new."""

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.storage import open_place
from pipeline.thresholds_used import THRESHOLDS_USED, ThresholdsUsed, read_thresholds_used


def test_entries_of_earlier_runs_stay_in_front(tmp_path: Path) -> None:
    place = open_place(tmp_path)
    assert read_thresholds_used(place) == ()
    for run in ("first", "second"):
        used = ThresholdsUsed(place, run)
        used.add(1.23456, 0, 0, (2.0, 2.0))
        used.write_if_due()
        used.add(9.0, 70, 3, (0.9, 0.8))
        used.write()
        assert len(used.of_this_run) == 2
    entries = read_thresholds_used(place)
    assert [(e.run, e.seconds, e.images, e.rung) for e in entries] == [
        ("first", 1.235, 0, 0),
        ("first", 9.0, 70, 3),
        ("second", 1.235, 0, 0),
        ("second", 9.0, 70, 3),
    ]
    assert entries[-1].thresholds == (0.9, 0.8)


def test_it_is_written_at_once_and_then_not_too_often(tmp_path: Path) -> None:
    used = ThresholdsUsed(open_place(tmp_path), "run")
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
        ThresholdsUsed(open_place(tmp_path), "run")
