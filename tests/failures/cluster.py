"""A Ray cluster of several raylets on this machine, whose processes can be killed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.cluster_utils import Cluster
from ray.core.generated import autoscaler_pb2

__all__ = ["TestCluster", "give_notice", "running_cluster"]

# Detects the death of a node in half a second instead of fifteen.
_QUICK = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_timeout_ms": 300,
    "health_check_failure_threshold": 2,
}


class TestCluster:
    """A head node without processors, and worker nodes.

    Args:
        cpus_per_node: logical processors of a worker.
    """

    __test__ = False

    def __init__(self, cpus_per_node: int) -> None:
        self._cpus = cpus_per_node
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 0,
                "include_dashboard": False,
                "object_store_memory": 300 * 2**20,
                "_system_config": _QUICK,
            },
        )
        self.workers: list[Any] = []

    @property
    def address(self) -> str:
        """For `RAY_ADDRESS`."""
        return str(self._cluster.address)

    def add_worker(self, labels: dict[str, str] | None = None) -> None:
        """Adds a node, with labels that pools may ask for."""
        node = self._cluster.add_node(
            num_cpus=self._cpus, object_store_memory=300 * 2**20, labels=labels or {}
        )
        self.workers.append(node)

    def kill_worker(self, number: int) -> None:
        """Kills a raylet and all its processes, as the loss of a machine does."""
        node = self.workers.pop(number)
        self._cluster.remove_node(node, allow_graceful=False)

    def close(self) -> None:
        """Ends all nodes."""
        self._cluster.shutdown()


@contextmanager
def running_cluster(workers: int, cpus_per_node: int) -> Iterator[TestCluster]:
    """A cluster for the length of a `with` block."""
    cluster = TestCluster(cpus_per_node)
    try:
        for _ in range(workers):
            cluster.add_worker()
        yield cluster
    finally:
        cluster.close()


def give_notice(cluster: TestCluster, number: int, deadline_s: float) -> None:
    """Announces, as a cloud's spot notice does, that a worker node will be taken away."""
    node = cluster.workers[number]
    client = GcsClient(address=cluster.address)
    accepted, why = client.drain_node(
        node.node_id,
        autoscaler_pb2.DrainNodeReason.Value(  # type: ignore[attr-defined]
            "DRAIN_NODE_REASON_PREEMPTION"
        ),
        "spot notice",
        int((time.time() + deadline_s) * 1000),
    )
    assert accepted, why
