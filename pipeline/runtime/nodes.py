"""Which nodes of the cluster are draining.

The only module that uses this private interface of Ray. If it is missing, a draining node is
treated as one that dies.
"""

import logging
import time

__all__ = ["DrainingNodes", "this_node"]

logger = logging.getLogger(__name__)

_ASK_EVERY_S = 1.0


def this_node() -> str:
    """The ID of the node that this process runs on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


class DrainingNodes:
    """The IDs of draining nodes, queried at most once a second."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._asked_s = 0.0
        self._works = True

    def names(self) -> frozenset[str]:
        """Nodes that are draining, or were and are gone."""
        if self._works and time.monotonic() - self._asked_s >= _ASK_EVERY_S:
            self._asked_s = time.monotonic()
            # Ray forgets a node once it is gone; IDs are never reused.
            self._known |= self._ask()
        return self._known

    def _ask(self) -> frozenset[str]:
        from ray._private.state import state

        try:
            draining: dict[str, int] = state.get_draining_nodes()
        except (AttributeError, RuntimeError) as error:
            logger.warning("cannot query draining nodes: %s", error)
            self._works = False
            return frozenset()
        return frozenset(draining)
