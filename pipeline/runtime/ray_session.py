"""Starting Ray for one job, on this machine or on a cluster that is already there."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.runtime.signals import interrupt_on_term

__all__ = ["running_ray"]


@contextmanager
def running_ray(num_cpus: int) -> Iterator[None]:
    """Ray for the length of a `with` block.

    Joins the cluster that `RAY_ADDRESS` names; otherwise starts one on this machine. Modules that
    import Ray are best imported inside the block, see the comment on authentication.

    Args:
        num_cpus: logical processors of a local cluster.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A call that fails has three answers, of which one is asked for; the log tells of it once.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    # The driver is often started by `uv run`; workers have the environment already.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    joins = bool(os.environ.get("RAY_ADDRESS"))
    if not joins and "ray" not in sys.modules:
        # The token keeps other users of this machine out. Ray reads the mode once, when it is
        # imported; later it would start servers and clients that do not agree.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    if joins:
        ray.init(logging_level=logging.WARNING)
    else:
        # "local" never joins a stranger's cluster whose address file was left behind.
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            logging_level=logging.WARNING,
            # What is released leaves the store within this time, in which no budget counts it; by
            # default that is a second's worth of pixels and states.
            _system_config={"free_objects_period_milliseconds": 100},
        )
    interrupt_on_term()  # Ray's own handler aborts with a native trace
    try:
        yield
    finally:
        ray.shutdown()
