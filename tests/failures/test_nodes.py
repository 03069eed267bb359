"""Nodes that go: with a notice and without one."""

import logging
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from jobs.shapes import WrittenArchive, write_shapes
from pipeline.pools import parse_pools
from pipeline.settings import TagSettings
from tests.command_line import SHAPES, rows
from tests.failures.cluster import TestCluster, give_notice, running_cluster
from tests.failures.faulty import Running, Slow, run_with
from tests.processes import running_dvt, wait_for_rows

POOLS = "1 actors=2 threads=1 | 2-3 actors=2 threads=1"
BATCH = 16


@pytest.fixture
def cluster() -> Iterator[TestCluster]:
    with running_cluster(workers=2, cpus_per_node=6) as cluster:
        yield cluster


def log_of_run(
    cluster: TestCluster,
    archive: WrittenArchive,
    out: Path,
    pools: str,
    disturb: Callable[[], None],
) -> str:
    """Tags an archive on a cluster that is disturbed after the first commit; returns the log."""
    command = ("tag", *SHAPES, archive.images, "--out", out, "--pools", pools, "--decoders", 2)
    with running_dvt(*command, environment={"RAY_ADDRESS": cluster.address}) as process:
        wait_for_rows(out, process)
        disturb()
        _, log = process.communicate(timeout=250)
    assert process.returncode == 0, log
    return log


def check_complete(out: Path, num_images: int) -> None:
    keys = [row["key"] for row in rows(out / "tags", "SELECT key FROM t")]
    assert len(keys) == len(set(keys)) == num_images
    assert rows(out / "dead_letters") == []


def test_a_node_with_notice_hands_over_and_loses_nothing(
    cluster: TestCluster, archive_5000: WrittenArchive, tmp_path: Path
) -> None:
    notice = partial(give_notice, cluster, 0, deadline_s=120)
    log = log_of_run(cluster, archive_5000, tmp_path / "out", POOLS, notice)
    assert "is draining; starting a replacement" in log
    assert "has handed over its images and ends" in log
    assert "lost" not in log
    check_complete(tmp_path / "out", 5000)


def test_the_images_of_actors_that_die_with_their_node_go_to_other_actors(
    cluster: TestCluster, archive_5000: WrittenArchive, tmp_path: Path
) -> None:
    cluster.add_worker(labels={"zone": "doomed"})
    pools = "1 actors=2 threads=1 label:zone=doomed | 2-3 actors=2 threads=1"

    def replace_the_node() -> None:
        cluster.kill_worker(2)
        cluster.add_worker(labels={"zone": "doomed"})

    log = log_of_run(cluster, archive_5000, tmp_path / "out", pools, replace_the_node)
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
