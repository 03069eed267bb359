"""The nodes of the cluster: which are about to go.

Wraps what Ray keeps private, so that one place breaks if it changes; without it, a node that goes
is a node that dies.
"""

import logging
import time

__all__ = ["DrainingNodes", "this_node"]

logger = logging.getLogger(__name__)

_ASK_EVERY_S = 1.0


def this_node() -> str:
    """Name of the node that this process runs on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


class DrainingNodes:
    """Names of the nodes that got notice, asked for at most once a second."""

    def __init__(self) -> None:
        self._known: frozenset[str] = frozenset()
        self._asked_s = 0.0
        self._works = True

    def names(self) -> frozenset[str]:
        """Those that are draining, or did and are gone."""
        if self._works and time.monotonic() - self._asked_s >= _ASK_EVERY_S:
            self._asked_s = time.monotonic()
            # Names are not used again, and a node is forgotten by Ray the moment it is gone.
            self._known |= self._ask()
        return self._known

    def _ask(self) -> frozenset[str]:
        from ray._private.state import state

        try:
            draining: dict[str, int] = state.get_draining_nodes()
        except (AttributeError, RuntimeError) as error:
            logger.warning("cannot ask which nodes are draining: %s", error)
            self._works = False
            return frozenset()
        return frozenset(draining)
