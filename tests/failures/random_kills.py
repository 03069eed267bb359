"""A run with kills of actors, nodes and the coordinator at random moments.

The seed determines kinds and moments; what they hit depends on the machine.
"""

import os
import random
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from tests.command_line import SHAPES, committed_files
from tests.failures.cluster import TestCluster
from tests.processes import kill, pids_of, running_dvt

__all__ = ["Disturbed", "run_with_kills", "sorted_table"]

_OPTIONS = ("--pools", "1 actors=2 threads=1 | 2-3 actors=2 threads=1", "--decoders", 2)
_MOST_S = 240.0


@dataclass
class Disturbed:
    """Kills during a run, and how often its command was started."""

    kills: list[str] = field(default_factory=list)
    starts: int = 0
    log: str = ""


def sorted_table(out: Path) -> bytes:
    """All committed rows of `tags`, sorted by key, as a Parquet file written by DuckDB."""
    target = out.parent / f"{out.name}-sorted.parquet"
    with duckdb.connect() as connection:
        relation = connection.read_parquet(committed_files(out / "tags"))
        relation.create_view("t")
        connection.execute("SET threads = 1")
        connection.execute(f"COPY (SELECT * FROM t ORDER BY key) TO '{target}' (FORMAT parquet)")
    return target.read_bytes()


def run_with_kills(cluster: TestCluster, images: Path, out: Path, seed: int) -> Disturbed:
    """Runs the job to its end through four kills; starts its command again where needed."""
    chance = random.Random(seed)
    disturbed = Disturbed()
    planned = [chance.choice(("actor", "actor", "node", "coordinator")) for _ in range(4)]
    deadline = time.monotonic() + _MOST_S
    command = ("tag", *SHAPES, images, "--out", out, *_OPTIONS)
    while True:
        disturbed.starts += 1
        with running_dvt(*command, environment={"RAY_ADDRESS": cluster.address}) as process:
            while planned and process.poll() is None:
                time.sleep(chance.uniform(0.2, 3.0))
                # Kill only once there are actors.
                if pids_of("ray::CascadeActor") and _strike(
                    planned[0], cluster, process.pid, chance
                ):
                    disturbed.kills.append(planned.pop(0))
            _, log = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
        disturbed.log += log
        while len(cluster.workers) < 2:
            cluster.add_worker()
        if process.returncode == 0:
            return disturbed
        assert process.returncode == -signal.SIGKILL, log
        assert time.monotonic() < deadline, f"seed {seed}: no end; {disturbed.log[-2000:]}"


def _strike(kind: str, cluster: TestCluster, coordinator: int, chance: random.Random) -> bool:
    if kind == "coordinator":
        os.killpg(coordinator, signal.SIGKILL)
        return True
    if kind == "node":
        cluster.kill_worker(chance.randrange(len(cluster.workers)))
        cluster.add_worker()
        return True
    actor = chance.choice(("DecodeActor", "CascadeActor", "WriteActor"))
    pids = pids_of(f"ray::{actor}")
    return bool(pids) and kill(chance.choice(pids))
