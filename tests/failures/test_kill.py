"""Kills and interrupts of a whole run."""

import os
import signal
from pathlib import Path

import pytest

from jobs.shapes import WrittenArchive
from tests.command_line import SHAPES, dvt, rows, succeeded
from tests.processes import running_dvt, wait_for_rows


@pytest.mark.usefixtures("ray_session")
def test_a_killed_run_is_continued_and_no_image_is_lost_or_done_twice(
    archive_5000: WrittenArchive, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ("tag", *SHAPES, archive_5000.images, "--out", out, "--json")
    with running_dvt(*command) as process:
        wait_for_rows(out, process)
    tags = "SELECT key, label, exit_stage, confidence FROM t"
    before = {row["key"]: row for row in rows(out / "tags", tags)}
    assert 0 < len(before) < archive_5000.num_images, "the kill must fall into the run"
    assert not (out / "_SUCCESS").exists()

    second = succeeded(dvt(*command)).json
    assert second["skipped"] == len(before)
    assert second["tagged"] == archive_5000.num_images - len(before)
    after = rows(out / "tags", tags)
    assert len({row["key"] for row in after}) == len(after) == archive_5000.num_images
    assert [row for row in after if row["key"] in before and row != before[row["key"]]] == []
    assert (out / "_SUCCESS").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_commits_its_results_and_exits_with_130(
    archive_5000: WrittenArchive, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    with running_dvt("tag", *SHAPES, archive_5000.images, "--out", out) as process:
        wait_for_rows(out, process)
        os.kill(process.pid, number)
        _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "SIGTERM received" not in err
    keys = [row["key"] for row in rows(out / "tags", "SELECT key FROM t")]
    assert 0 < len(keys) == len(set(keys))
