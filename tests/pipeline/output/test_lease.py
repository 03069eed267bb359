"""The lease: one run at a time; running, ended and killed runs."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.output.lease import FOLDER, Lease, Owner, newest_owner
from pipeline.storage import open_output_store


def test_epochs_increase_and_a_released_output_is_free_at_once(location: str) -> None:
    store = open_output_store(location)
    for expected in (1, 2, 3):
        lease = Lease(store, f"run-{expected}")
        assert lease.epoch == expected
        lease.release()
    assert list(store.child(FOLDER).names()) == ["00000003.json"]


def test_a_second_run_is_refused_while_the_first_runs(location: str) -> None:
    store = open_output_store(location)
    first = Lease(store, "a")
    with pytest.raises(UsageError, match=r"another run is writing to .*process \d+ on "):
        Lease(store, "b")
    first.release()
    Lease(store, "b").release()


def other_host(location: str, **changes: object) -> Owner:
    store = open_output_store(location).child(FOLDER)
    store.prepare()
    fields: dict[str, object] = {
        "epoch": 7,
        "run": "a",
        "host": "elsewhere",
        "machine": "another boot",
        "pid": 1,
        "pid_started": "1",
    }
    owner = Owner.model_validate(fields | changes)
    store.write("00000007.json", owner.model_dump_json().encode())
    return owner


def test_a_dead_run_of_another_machine_holds_the_output_for_the_lease_time(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.output.lease._LEASE_S", 2.0)
    other_host(location)
    started = time.monotonic()
    lease = Lease(open_output_store(location), "b")
    assert 1.0 <= time.monotonic() - started < 15.0
    assert lease.epoch == 8
    lease.release()


def test_a_running_run_of_another_machine_is_found_by_its_next_heartbeat(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = other_host(location)
    beats = iter(range(1, 99))

    def sleep(_seconds: float) -> None:
        other_host(location, beat=next(beats))

    monkeypatch.setattr("pipeline.output.lease.time.sleep", sleep)
    with pytest.raises(UsageError, match="process 1 on elsewhere"):
        Lease(open_output_store(location), "b")
    assert newest_owner(open_output_store(location)) == owner.model_copy(update={"beat": 1})


def test_a_killed_run_of_this_machine_is_replaced_at_once(location: str) -> None:
    code = (
        "import os, signal, sys; from pipeline.output.lease import Lease; "
        "from pipeline.storage import open_output_store; "
        "Lease(open_output_store(sys.argv[1]), 'a'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code, location], check=False)
    assert killed.returncode == -9
    owner = newest_owner(open_output_store(location))
    assert owner is not None
    assert not owner.ended
    started = time.monotonic()
    lease = Lease(open_output_store(location), "b")
    assert lease.epoch == 2
    assert time.monotonic() - started < 3
    lease.release()


def test_heartbeats_continue(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.output.lease._BEAT_S", 0.05)
    store = open_output_store(location)
    lease = Lease(store, "a")
    deadline = time.monotonic() + 20
    beat = 0
    while beat < 3 and time.monotonic() < deadline:
        owner = newest_owner(store)
        assert owner is not None
        beat = owner.beat
    assert beat >= 3
    lease.release()


def test_a_truncated_first_heartbeat_does_not_lock_the_output(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.output.lease._LEASE_S", 0.5)
    folder = open_output_store(location).child(FOLDER)
    folder.prepare()
    folder.write("00000004.json", b"{")
    lease = Lease(open_output_store(location), "b")
    assert lease.epoch == 5
    lease.release()


def test_a_dead_run_is_replaced_in_bounded_time_after_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.output.lease._LEASE_S", 1.0)
    other_host(str(tmp_path))
    in_an_hour = time.time() + 3600
    os.utime(tmp_path / FOLDER / "00000007.json", (in_an_hour, in_an_hour))
    Lease(open_output_store(tmp_path), "b").release()


def test_a_heartbeat_leaves_the_file_of_another_run_alone(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after OUT was removed and made again while its run lives."""
    monkeypatch.setattr("pipeline.output.lease._BEAT_S", 0.05)
    store = open_output_store(location)
    lease = Lease(store, "a")
    other = Owner(epoch=1, run="b", host="h", machine=None, pid=1, pid_started=None)
    store.child(FOLDER).write("00000001.json", other.model_dump_json().encode())
    time.sleep(0.3)
    lease.release()
    assert newest_owner(store) == other
