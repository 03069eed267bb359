"""One Ray for all tests that need no cluster of their own, and one output that they may copy."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.shapes import WrittenArchive
from tests.command_line import SHAPES, dvt, succeeded
from tests.processes import pids_of
from tests.s3 import use_server

__all__ = ["Tagged", "ray_address", "ray_session", "tagged"]

_ACTORS = ("ray::CascadeActor", "ray::DecodeActor", "ray::WriteActor")


@dataclass(frozen=True)
class Tagged:
    """An archive and its output with the default settings.

    Attributes:
        archive: that was tagged.
        out: of `dvt tag`; copy it to change it.
        json: what the command printed.
    """

    archive: WrittenArchive
    out: Path
    json: dict[str, Any]


@pytest.fixture(scope="session")
def ray_address(moto_endpoint: str) -> Iterator[str]:
    """The address of a Ray on this machine, whose workers read from the S3 server of the tests.

    Its processors are only numbers for its scheduler.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    head = {
        "num_cpus": 16,
        "include_dashboard": False,
        "object_store_memory": 500 * 2**20,
        "_system_config": {"free_objects_period_milliseconds": 100},
    }
    with pytest.MonkeyPatch.context() as patch:
        use_server(moto_endpoint, patch)
        cluster = Cluster(initialize_head=True, head_node_args=head)
    yield str(cluster.address)
    cluster.shutdown()


@contextmanager
def _joined(address: str) -> Iterator[None]:
    """What this process runs uses the Ray at that address, and leaves no actor behind in it."""
    import ray

    ray.init(address, logging_level=logging.WARNING)
    try:
        yield
        deadline = time.monotonic() + 90
        while left := [pid for name in _ACTORS for pid in pids_of(name)]:
            assert time.monotonic() < deadline, f"actors are left: {left}"
            time.sleep(0.05)
    finally:
        ray.shutdown()


@pytest.fixture
def ray_session(ray_address: str) -> Iterator[None]:
    """The commands of this test use the session's Ray."""
    with _joined(ray_address):
        yield


@pytest.fixture(scope="session")
def tagged(
    archive_5000: WrittenArchive, ray_address: str, tmp_path_factory: pytest.TempPathFactory
) -> Tagged:
    """What `dvt tag` makes of 5,000 pictures."""
    out = tmp_path_factory.mktemp("tagged") / "out"
    with _joined(ray_address):
        done = succeeded(dvt("tag", *SHAPES, archive_5000.images, "--out", out, "--json"))
    return Tagged(archive_5000, out, done.json)
