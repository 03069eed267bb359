"""Starts Ray for one job, on this machine or on an existing cluster.

A Ray of our own listens on loopback only, keeps its files in a folder that other users cannot
enter, and needs no home directory. No process of a job imports anything from the folder that the
job was started in.
"""

import contextlib
import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.runtime.ray_cluster import check_cluster
from pipeline.runtime.signals import interrupt_on_term

__all__ = ["running_ray"]

# Ray's longest path below the folder for temporary files.
_LONGEST_SOCKET = (
    "/dvt-01234567/ray/session_2026-01-01_00-00-00_000000_0123456/sockets/plasma_store"
)
_MAX_SOCKET_CHARS = 107


@contextlib.contextmanager
def running_ray(num_cpus: int) -> Iterator[None]:
    """Runs Ray for the length of a `with` block.

    Uses the Ray that this process runs already, joins the cluster at `RAY_ADDRESS`, or starts one
    on this machine. Import modules that import Ray inside the block, because authentication must be
    configured first.

    Args:
        num_cpus: CPUs that a local cluster offers.

    Raises:
        UsageError: the cluster does not answer, or there is no folder for Ray's files.
    """
    if _is_running():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "")
    joins = address not in ("", "local")
    _configure(joins)
    if joins:
        check_cluster(address)
    with _private_folder() as folder:
        import ray

        _hide_command_line()
        # Ray puts the current folder of the driver first into `sys.path` of every worker, where a
        # user's `pipeline/` or `dvt.py` would take the place of ours.
        with contextlib.chdir(folder):
            if joins:
                ray.init(logging_level=logging.WARNING)
            else:
                # "local" ignores address files that other clusters have left behind.
                ray.init(
                    address="local",
                    num_cpus=num_cpus,
                    include_dashboard=False,
                    logging_level=logging.WARNING,
                    _temp_dir=str(folder / "ray"),
                    # Released objects stay in the store for this long, uncounted by any budget;
                    # the default is a second's worth of pixels and features.
                    _system_config={"free_objects_period_milliseconds": 100},
                )
        interrupt_on_term()  # replaces Ray's handler, which aborts with a native stack trace
        try:
            yield
        finally:
            ray.shutdown()


def _hide_command_line() -> None:
    """Keeps Ray from recording the command line: it fails where a path in it is not UTF-8."""
    import ray._private.utils

    setattr(ray._private.utils, "get_entrypoint_name", lambda: "dvt")  # noqa: B010 - not typed


def _is_running() -> bool:
    if "ray" not in sys.modules:
        return False
    import ray

    return bool(ray.is_initialized())


def _configure(joins: bool) -> None:
    """Sets what Ray reads from the environment once, when it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A failed call has three results, of which only one is fetched and reported.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    # Under `uv run`, Ray would rebuild the environment, which workers have already.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    if joins or "ray" in sys.modules:
        return  # set later, its servers and clients would disagree
    # The token keeps other users of this machine out. Given here, Ray writes none into the home
    # directory, which a container's user may not have.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Ray's switch, whatever its name says, for a cluster of one machine that listens on loopback.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    """A new folder for Ray's folder `ray`, with a path short enough for Ray's sockets.

    Ray opens its own folder to everyone, so its parent is closed. Below a long RAY_TMPDIR, such as
    a batch system's, Ray's files are reached by a link from a short path.
    """
    base = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    with contextlib.ExitStack() as stack:
        folder = _new_folder(stack, base)
        if len(str(folder.parent)) + len(_LONGEST_SOCKET) > _MAX_SOCKET_CHARS:
            target = folder / "ray"
            target.mkdir()
            folder = _new_folder(stack, "/tmp")
            (folder / "ray").symlink_to(target)
        yield folder


def _new_folder(stack: contextlib.ExitStack, base: str) -> Path:
    try:
        Path(base).mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix="dvt-", dir=base, ignore_cleanup_errors=True)
    except OSError as error:
        raise UsageError(
            f"RAY_TMPDIR: cannot write to {base}: {error.strerror}; set it to a folder for Ray's "
            "files"
        ) from error
    return Path(stack.enter_context(folder)).absolute()
