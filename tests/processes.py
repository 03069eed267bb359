"""Processes below this one: `dvt` as a program, and what Ray runs."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.command_line import DVT, committed_files

__all__ = ["kill", "pids_of", "running_dvt", "wait_for_rows"]


@contextmanager
def running_dvt(
    *arguments: object, environment: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """`dvt` in a process group of its own, of which nothing is left behind.

    Args:
        arguments: of the command line.
        environment: added to that of this process.
    """
    process = subprocess.Popen(
        [DVT, *map(str, arguments)],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield process
    finally:
        kill(-process.pid)
        process.communicate()


def wait_for_rows(out: Path, process: "subprocess.Popen[str]", timeout_s: float = 200) -> None:
    """Returns once `tags` has committed rows; fails if the process ends before."""
    deadline = time.monotonic() + timeout_s
    while not (out / "tags" / "_delta_log").is_dir() or not committed_files(out / "tags"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def pids_of(name: str, ancestor: int | None = None) -> list[int]:
    """Descendants of a process, by default of this one, whose command line begins with a name."""
    parents: dict[int, int] = {}
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            # The name in brackets may hold anything; what follows it does not.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(fields[1])
            if (entry / "cmdline").read_bytes().startswith(name.encode()):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended meanwhile
    return sorted(pid for pid in found if _is_below(pid, ancestor or os.getpid(), parents))


def _is_below(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = parents.get(pid, 0)
    return False


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Sends a signal to a process, or to a group by its negative number; False if it is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
