"""Actors that are killed during the run, one after another."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from jobs.shapes import WrittenArchive
from tests.command_line import DVT, SHAPES, committed_files, dvt, rows
from tests.failures.cluster import pids_of


def test_killing_every_kind_of_actor_changes_nothing_in_the_table(
    archive_5000: WrittenArchive, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [
        str(part) for part in (DVT, "tag", *SHAPES, archive_5000.images, "--out", out, "--json")
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not (out / "tags" / "_delta_log").is_dir() or not committed_files(out / "tags"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    killed = []
    for kind in ("DecodeActor", "CascadeActor", "WriteActor"):
        for pid in pids_of(f"ray::{kind}"):
            os.kill(pid, signal.SIGKILL)
            killed.append(kind)
        time.sleep(0.5)
    _, stderr = process.communicate(timeout=250)
    assert process.returncode == 0, stderr
    assert {"DecodeActor", "CascadeActor"} <= set(killed), "the kills must fall into the run"
    assert re.search(r"lost pool 1-3 #\d+ \(.*\): \d+ images in \d+ blocks go to", stderr)
    columns = "SELECT key, label, exit_stage, confidence FROM t ORDER BY key"
    disturbed = rows(out / "tags", columns)
    assert len({row["key"] for row in disturbed}) == len(disturbed) == 5000

    calm = dvt("tag", *SHAPES, archive_5000.images, "--out", tmp_path / "calm", "--json")
    assert calm.code == 0, calm.err
    undisturbed = rows(tmp_path / "calm" / "tags", columns)
    for column in ("key", "label", "exit_stage"):
        assert [row[column] for row in undisturbed] == [row[column] for row in disturbed]
    confidences = [row["confidence"] for row in undisturbed]
    assert [row["confidence"] for row in disturbed] == pytest.approx(confidences, abs=1e-5)
