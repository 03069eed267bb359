"""Nodes that go: with a notice and without one."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.shapes import WrittenArchive
from tests.command_line import SHAPES, committed_files, rows
from tests.failures.cluster import TestCluster, give_notice, running_cluster, start_dvt

POOLS = "1 actors=2 threads=1 | 2-3 actors=2 threads=1"


@pytest.fixture(scope="module")
def cluster() -> Iterator[TestCluster]:
    with running_cluster(workers=2, cpus_per_node=6) as cluster:
        yield cluster


def run_until_first_rows(
    cluster: TestCluster, archive: WrittenArchive, out: Path
) -> "subprocess.Popen[str]":
    process = start_dvt(
        cluster, "tag", *SHAPES, archive.images, "--out", out, "--pools", POOLS, "--decoders", 2
    )
    deadline = time.monotonic() + 200
    while not (out / "tags" / "_delta_log").is_dir() or not committed_files(out / "tags"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def check_complete(out: Path, num_images: int) -> None:
    keys = [row["key"] for row in rows(out / "tags", "SELECT key FROM t")]
    assert len(keys) == len(set(keys)) == num_images
    assert rows(out / "dead_letters") == []


def test_a_node_with_notice_hands_over_and_loses_nothing(
    cluster: TestCluster, archive_5000: WrittenArchive, tmp_path: Path
) -> None:
    process = run_until_first_rows(cluster, archive_5000, tmp_path / "out")
    give_notice(cluster, 0, deadline_s=120)
    _, log = process.communicate(timeout=250)
    cluster.kill_worker(0)
    cluster.add_worker()
    assert process.returncode == 0, log
    assert "is about to go: another takes its place" in log
    assert "has handed over all it held and ends" in log
    assert "images in" not in log.split("is about to go")[-1], "nothing was lost and redone"
    check_complete(tmp_path / "out", 5000)


def test_a_node_that_dies_takes_its_objects_along_and_their_images_start_again(
    cluster: TestCluster, archive_5000: WrittenArchive, tmp_path: Path
) -> None:
    process = run_until_first_rows(cluster, archive_5000, tmp_path / "out")
    cluster.kill_worker(1)
    cluster.add_worker()
    _, log = process.communicate(timeout=250)
    assert process.returncode == 0, log
    assert "start again from their source" in log or "go to others" in log
    check_complete(tmp_path / "out", 5000)
