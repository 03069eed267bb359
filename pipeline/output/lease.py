"""Who may write to an output: one run at a time, each with an epoch that no other run has.

OUT/.runs/00000007.json   the run of epoch 7, rewritten every few seconds while it lives

An epoch is taken by creating a file that nobody else can create as well, which works on local
disks, on network file systems without locks, and on S3. The highest one holds the output. This
keeps a second run from starting beside a living one; what makes it safe is not here but in
`table.py`, where the tables refuse commits of an earlier epoch.
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
        machine: boot and process namespace, in which `pid` means something; None if not known.
        pid: its process.
        pid_started: when that started, since process numbers are used again.
        beat: counts up while it lives.
        ended: it let go of the output.
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
        """It ended, or its process is known to be no more."""
        if self.ended:
            return True
        if self.machine is None or self.machine != _machine():
            return False
        return self.pid_started is not None and _started(self.pid) != self.pid_started

    def is_alive(self, place: OutputStore) -> bool:
        """It gave a sign of life within the time of a lease.

        Args:
            place: of the output.
        """
        age_s = place.child(FOLDER).age_s(_name(self.epoch))
        return not self.is_gone and age_s is not None and age_s <= _LEASE_S


def newest_owner(place: OutputStore) -> Owner | None:
    """The last run that took the output.

    Args:
        place: of the output.
    """
    folder = place.child(FOLDER)
    for name in sorted(_epoch_files(folder), reverse=True):
        content = folder.read(name)
        if content is None:
            continue
        try:
            return Owner.model_validate_json(content)
        except ValidationError:  # killed in the middle of its first sign of life
            return Owner(
                epoch=int(name[:-5]), run="", host="?", machine=None, pid=0, pid_started=None
            )
    return None


class Lease:
    """This run's hold on an output.

    Args:
        place: of the output; made if need be.
        run: its name.

    Raises:
        UsageError: another run is at work.
    """

    def __init__(self, place: OutputStore, run: str) -> None:
        self._place = place.child(FOLDER)
        self._place.prepare()
        earlier = newest_owner(place)
        if earlier is not None:
            _wait_for_end(place, earlier)
        self._owner = Owner(
            epoch=1 if earlier is None else earlier.epoch + 1,
            run=run,
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            pid_started=_started(os.getpid()),
        )
        if not self._place.create(_name(self.epoch), _content(self._owner)):
            raise UsageError(f"out: another run has just begun to write to {place.uri}")
        self._place.delete(name for name in _epoch_files(self._place) if name < _name(self.epoch))
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True, name="lease")
        self._heart.start()

    @property
    def epoch(self) -> int:
        """Counts the runs of an output; no two have the same."""
        return self._owner.epoch

    def release(self) -> None:
        """Lets the next run in at once."""
        self._ended.set()
        self._heart.join()
        self._sign(ended=True)

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT_S):
            self._sign(beat=self._owner.beat + 1)

    def _sign(self, **changes: int) -> None:
        self._owner = self._owner.model_copy(update=changes)
        try:
            self._place.write(_name(self.epoch), _content(self._owner))
        except OutputFailedError as error:  # commits will tell, and another run waits the longer
            logger.warning("cannot give a sign of life: %s", error)


def _wait_for_end(place: OutputStore, owner: Owner) -> None:
    """Comes back when a run has ended or given no sign of life for the time of a lease."""
    busy = UsageError(
        f"out: another run is writing to {place.uri} (process {owner.pid} on {owner.host}); wait "
        "for its end, or choose another --out"
    )
    if owner.is_gone:
        return
    if owner.machine == _machine() and owner.is_alive(place):
        raise busy
    told = False
    while owner.is_alive(place):
        if not told:
            logger.info(
                "the last run, process %d on %s, has not said that it ended; waiting up to %.0f s "
                "for a sign of life",
                owner.pid,
                owner.host,
                _LEASE_S,
            )
            told = True
        time.sleep(min(1.0, _BEAT_S))
        now = newest_owner(place)
        if now is None or now.ended:
            return
        if now != owner:
            raise busy


def _name(epoch: int) -> str:
    return f"{epoch:08d}.json"


def _epoch_files(place: OutputStore) -> list[str]:
    return [name for name in place.names() if name[:-5].isdigit() and name.endswith(".json")]


def _content(owner: Owner) -> bytes:
    return owner.model_dump_json().encode()


def _machine() -> str | None:
    """This boot of this machine and this container; None where Linux's /proc is missing."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None if there is no such process."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command's name, in brackets, may hold anything. A zombie has ended.
    state, *fields = status.rpartition(")")[2].split()
    return None if state in "ZX" else fields[18]
