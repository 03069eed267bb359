"""The lease: one run at a time may write to an output, and each run has an epoch of its own.

    OUT/.runs/00000007.json   the run of epoch 7, rewritten every few seconds as its heartbeat

A run takes an epoch by creating its file, which only one process can do. That works on local disks,
on network file systems without locks, and on S3. The lease only keeps a second run from starting
while one is running. What makes commits safe is the epoch in the tables' logs (`delta_log.py`).
"""

import logging
import os
import socket
import threading
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import OutputFailedError, UsageError
from pipeline.storage import OutputStore

__all__ = ["FOLDER", "Lease", "Owner", "newest_owner"]

logger = logging.getLogger(__name__)

FOLDER = ".runs"
_BEAT_S = 10.0
_LEASE_S = 60.0


class Owner(BaseModel):
    """The run of an epoch.

    Attributes:
        machine: boot and process namespace that `pid` belongs to; None if unknown.
        pid: of its process.
        pid_started: start time of the process, because pids are reused.
        beat: number of its last heartbeat.
        ended: it has released the output.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    epoch: int
    run: str
    host: str
    machine: str | None
    pid: int
    pid_started: str | None
    beat: int = 0
    ended: bool = False

    @property
    def is_gone(self) -> bool:
        """It has ended, or its process was on this machine and does not exist any more."""
        if self.ended:
            return True
        if self.machine is None or self.machine != _machine():
            return False
        return self.pid_started is not None and _started(self.pid) != self.pid_started

    def is_alive(self, store: OutputStore) -> bool:
        """It sent a heartbeat within the lease time, by the clock of the output's storage.

        A heartbeat from the future, as after that clock was set back, counts as one.
        """
        age_s = store.child(FOLDER).age_s(_name(self.epoch))
        return not self.is_gone and age_s is not None and age_s <= _LEASE_S


def newest_owner(store: OutputStore) -> Owner | None:
    """The last run of an output; None if there was none."""
    folder = store.child(FOLDER)
    for name in sorted(_epoch_files(folder), reverse=True):
        content = folder.read(name)
        if content is None:
            continue
        try:
            return Owner.model_validate_json(content)
        except ValidationError:  # cut off: killed while it wrote its first heartbeat
            return Owner(
                epoch=int(name[:-5]), run="", host="?", machine=None, pid=0, pid_started=None
            )
    return None


class Lease:
    """The lease of this run, renewed by a thread until `release`.

    Args:
        store: of the output; created if missing.
        run: name of this run.
        newest_epoch: of the tables' logs, for an output whose `.runs` is lost.

    Raises:
        UsageError: another run is writing to the output.
    """

    def __init__(self, store: OutputStore, run: str, newest_epoch: int = 0) -> None:
        self._store = store.child(FOLDER)
        self._store.prepare()
        earlier = newest_owner(store)
        if earlier is not None:
            _wait_for_end(store, earlier)
        self._owner = Owner(
            epoch=1 + max(newest_epoch, 0 if earlier is None else earlier.epoch),
            run=run,
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            pid_started=_started(os.getpid()),
        )
        if not self._store.create(_name(self.epoch), _content(self._owner)):
            raise UsageError(f"out: another run has just started on {store.uri}")
        self._store.delete(name for name in _epoch_files(self._store) if name < _name(self.epoch))
        self._ended = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, daemon=True, name="lease")
        self._heartbeat.start()

    @property
    def epoch(self) -> int:
        """Number of this run on the output; no other run has it."""
        return self._owner.epoch

    def release(self) -> None:
        """Ends the lease, so that the next run can start at once."""
        self._ended.set()
        self._heartbeat.join()
        self._write_heartbeat(ended=True)

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_S):
            self._write_heartbeat(beat=self._owner.beat + 1)

    def _write_heartbeat(self, **changes: int) -> None:
        name = _name(self.epoch)
        try:
            content = self._store.read(name)
            # Where the output was removed and made again, the file is missing or another run's.
            if content and Owner.model_validate_json(content).run == self._owner.run:
                self._owner = self._owner.model_copy(update=changes)
                self._store.write(name, _content(self._owner))
        except OutputFailedError as error:  # if it persists, the next commit fails
            logger.warning("cannot write the heartbeat: %s", error)


def _wait_for_end(store: OutputStore, owner: Owner) -> None:
    """Returns when a run has ended or has missed its heartbeats for the lease time.

    Raises:
        UsageError: it is running.
    """
    busy = UsageError(
        f"out: another run is writing to {store.uri} (process {owner.pid} on {owner.host}); wait "
        "until it ends, or choose another --out"
    )
    if owner.is_gone:
        return
    if owner.machine == _machine() and owner.is_alive(store):
        raise busy
    is_announced = False
    # At most the lease time by this machine's clock, whatever time the heartbeat carries.
    until_s = time.monotonic() + _LEASE_S
    while owner.is_alive(store) and time.monotonic() < until_s:
        if not is_announced:
            logger.info(
                "the last run, process %d on %s, has not released the output; waiting up to %.0f s "
                "for its heartbeat",
                owner.pid,
                owner.host,
                _LEASE_S,
            )
            is_announced = True
        time.sleep(min(1.0, _BEAT_S))
        now = newest_owner(store)
        if now is None or now.ended:
            return
        if now != owner:
            raise busy


def _name(epoch: int) -> str:
    return f"{epoch:08d}.json"


def _epoch_files(store: OutputStore) -> list[str]:
    return [name for name in store.names() if name[:-5].isdigit() and name.endswith(".json")]


def _content(owner: Owner) -> bytes:
    return owner.model_dump_json().encode()


def _machine() -> str | None:
    """Identifies this boot and pid namespace of this machine; None without Linux's /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """Start time of a process in clock ticks; None if it does not exist or is a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command name, in parentheses, may hold spaces and parentheses.
    state, *fields = status.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]
