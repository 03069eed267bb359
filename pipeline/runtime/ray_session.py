"""Starts Ray for one job, on this machine or on an existing cluster."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.runtime.signals import interrupt_on_term

__all__ = ["running_ray"]


@contextmanager
def running_ray(num_cpus: int) -> Iterator[None]:
    """Runs Ray for the length of a `with` block.

    Joins the cluster at `RAY_ADDRESS`, or starts one on this machine. Import modules that import
    Ray inside the block, because authentication must be configured first.

    Args:
        num_cpus: CPUs that a local cluster offers.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A failed call has three results, of which only one is fetched and reported.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    # Under `uv run`, Ray would rebuild the environment, which workers have already.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    joins = bool(os.environ.get("RAY_ADDRESS"))
    if not joins and "ray" not in sys.modules:
        # The token keeps other users of this machine out. Ray reads the mode once, at import; set
        # later, its servers and clients would disagree.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    if joins:
        ray.init(logging_level=logging.WARNING)
    else:
        # "local" ignores address files that other clusters have left behind.
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            logging_level=logging.WARNING,
            # Released objects stay in the store for this long, uncounted by any budget; the default
            # is a second's worth of pixels and features.
            _system_config={"free_objects_period_milliseconds": 100},
        )
    interrupt_on_term()  # replaces Ray's handler, which aborts with a native stack trace
    try:
        yield
    finally:
        ray.shutdown()
