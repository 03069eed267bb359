"""Checks a Ray cluster before a job joins it.

Ray itself waits for minutes in native code, which no signal interrupts, and does not say for what.
"""

import contextlib
import socket
import subprocess
import sys

from pipeline.errors import UsageError

__all__ = ["check_cluster"]

_CONNECT_S = 10.0
_JOIN_S = 45.0
_JOIN = "import ray; ray.init(logging_level='ERROR'); ray.shutdown()"


def check_cluster(address: str) -> None:
    """Joins and leaves a cluster in a process of its own.

    Args:
        address: value of RAY_ADDRESS; `HOST:PORT` of the cluster's control service, or `auto`.

    Raises:
        UsageError: nothing listens there, or Ray cannot join it.
    """
    host, _, port = address.rpartition(":")
    if port.isdigit() and "://" not in address:
        _connect(address, host.strip("[]"), int(port))
    try:
        with contextlib.chdir("/"):
            join = subprocess.run(
                [sys.executable, "-P", "-c", _JOIN],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_JOIN_S,
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise _refused(address, f"no answer within {_JOIN_S:.0f} s") from None
    if join.returncode:
        lines = join.stderr.decode(errors="replace").strip().splitlines()
        raise _refused(address, lines[-1].strip() if lines else f"exit code {join.returncode}")


def _connect(address: str, host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except OSError as error:
        raise UsageError(
            f"RAY_ADDRESS: nothing listens at {address} ({error.strerror or error}); start a Ray "
            "cluster there, or unset RAY_ADDRESS to run on this machine"
        ) from error


def _refused(address: str, why: str) -> UsageError:
    import ray

    return UsageError(
        f"RAY_ADDRESS: cannot join the Ray cluster at {address} ({why}); it must run Ray "
        f"{ray.__version__}, and if it requires a token, set RAY_AUTH_MODE=token and "
        "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"
    )
