"""Nodes that go: with a notice and without one."""

import logging
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.shapes import WrittenArchive, write_shapes
from pipeline.pools import parse_pools
from pipeline.settings import TagSettings
from tests.command_line import SHAPES, committed_files, rows
from tests.failures.cluster import TestCluster, give_notice, running_cluster, start_dvt
from tests.failures.faulty import Running, Slow, run_with

POOLS = "1 actors=2 threads=1 | 2-3 actors=2 threads=1"
BATCH = 16


@pytest.fixture
def cluster() -> Iterator[TestCluster]:
    with running_cluster(workers=2, cpus_per_node=6) as cluster:
        yield cluster


def run_until_first_rows(
    cluster: TestCluster, archive: WrittenArchive, out: Path, pools: str
) -> "subprocess.Popen[str]":
    process = start_dvt(
        cluster, "tag", *SHAPES, archive.images, "--out", out, "--pools", pools, "--decoders", 2
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
    process = run_until_first_rows(cluster, archive_5000, tmp_path / "out", POOLS)
    give_notice(cluster, 0, deadline_s=120)
    _, log = process.communicate(timeout=250)
    assert process.returncode == 0, log
    assert "is draining; starting a replacement" in log
    assert "has handed over its images and ends" in log
    assert "lost" not in log
    check_complete(tmp_path / "out", 5000)


def test_the_images_of_actors_that_die_with_their_node_go_to_other_actors(
    cluster: TestCluster, archive_5000: WrittenArchive, tmp_path: Path
) -> None:
    cluster.add_worker(labels={"zone": "doomed"})
    pools = "1 actors=2 threads=1 label:zone=doomed | 2-3 actors=2 threads=1"
    process = run_until_first_rows(cluster, archive_5000, tmp_path / "out", pools)
    cluster.kill_worker(2)
    cluster.add_worker(labels={"zone": "doomed"})
    _, log = process.communicate(timeout=250)
    assert process.returncode == 0, log
    assert re.search(r"lost pool 1 #\d \(.*\): .* go to other actors; the attempt counts", log)
    check_complete(tmp_path / "out", 5000)


def test_the_images_of_blocks_that_are_lost_with_their_node_restart_from_their_source(
    cluster: TestCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The decoder's node dies while decoded blocks wait there for a slow actor on another one."""
    archive = write_shapes(tmp_path / "a", 400, seed=3, size=(64, 64))
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    cluster.add_worker(labels={"zone": "safe"})
    doomed = NodeAffinitySchedulingStrategy(cluster.workers[0].node_id, soft=True)

    def goes_on(running: Running) -> bool:
        if len(cluster.workers) == 3 and running.scheduler.load(0).queued_images >= 4 * BATCH:
            cluster.kill_worker(0)
        return len(cluster.workers) == 2

    settings = TagSettings(
        input=(str(archive.images),),
        out=str(tmp_path / "out"),
        model="shapes",
        batch_size=BATCH,
        pools=parse_pools("1-3 label:zone=safe threads=1"),
    )
    with caplog.at_level(logging.INFO):
        run_with(Slow, settings, goes_on=goes_on, decoder_options={"scheduling_strategy": doomed})
    assert "its images restart from their source" in caplog.text
    check_complete(tmp_path / "out", 400)
