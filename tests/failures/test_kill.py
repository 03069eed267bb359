"""Kills and interrupts of a whole run."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from jobs.shapes import WrittenArchive
from tests.command_line import DVT, SHAPES, committed_files, dvt, rows


def num_committed(out: Path) -> int:
    if not (out / "tags" / "_delta_log").is_dir() or not committed_files(out / "tags"):
        return 0
    return int(rows(out / "tags", "SELECT count(*) AS n FROM t")[0]["n"])


def test_a_killed_run_is_continued_and_no_image_is_lost_or_done_twice(
    archive_5000: WrittenArchive, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [
        str(part) for part in (DVT, "tag", *SHAPES, archive_5000.images, "--out", out, "--json")
    ]
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 200
        while num_committed(out) == 0 and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    tags = "SELECT key, label, exit_stage, confidence FROM t"
    before = {row["key"]: row for row in rows(out / "tags", tags)}
    assert 0 < len(before) < 5000, "the kill must fall into the run"
    assert not (out / "_SUCCESS").exists()

    second = dvt(*command[1:])
    assert second.code == 0, second.err
    assert second.json["skipped"] == len(before)
    assert second.json["tagged"] == 5000 - len(before)
    after = rows(out / "tags", tags)
    assert len({row["key"] for row in after}) == len(after) == 5000
    assert [row for row in after if row["key"] in before and row != before[row["key"]]] == []
    assert (out / "_SUCCESS").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_commits_its_results_and_exits_with_130(
    archive_5000: WrittenArchive, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        [DVT, "tag", *SHAPES, archive_5000.images, "--out", out],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while num_committed(out) == 0 and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "SIGTERM received" not in err
    keys = [row["key"] for row in rows(out / "tags", "SELECT key FROM t")]
    assert 0 < len(keys) == len(set(keys))
