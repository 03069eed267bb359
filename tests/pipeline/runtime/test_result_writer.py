"""Commits run beside the control loop, one at a time, and their failures end the run."""

import threading
import time
from typing import Any, cast

import pytest

from pipeline.errors import OutputFailedError, Reason
from pipeline.output.ledger import Ledger
from pipeline.output.results import Results
from pipeline.records import DeadLetter
from pipeline.runtime.result_writer import ResultWriter
from pipeline.runtime.supervised_actor import ActorKind
from pipeline.runtime.supervisor import ActorSupervisor

LETTER = DeadLetter("key", "uri", Reason.TRUNCATED, "cut", 1, "shard", None)


class SlowLedger:
    """Stands in for the ledger: each commit waits until it may end."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.num_started = 0
        self.error: Exception | None = None

    def commit(self, *_: Any) -> None:
        self.num_started += 1
        assert self.may_end.wait(20)
        if self.error is not None:
            raise self.error


class NoSupervisor:
    def start(self, kind: ActorKind) -> object:
        return kind


@pytest.fixture
def ledger() -> SlowLedger:
    return SlowLedger()


@pytest.fixture
def results(ledger: SlowLedger) -> Results:
    return Results(cast(Ledger, ledger), 3)


@pytest.fixture
def writer(results: Results) -> ResultWriter:
    supervisor = cast(ActorSupervisor, NoSupervisor())
    return ResultWriter(ActorKind("writer", object), supervisor, results)


def turn_until_committed(writer: ResultWriter, results: Results) -> None:
    until_s = time.monotonic() + 20
    while not results.are_committed and time.monotonic() < until_s:
        writer.commit_if_due(at_once=True)
        time.sleep(0.01)


def test_a_slow_commit_does_not_stop_the_loop_and_the_next_one_waits(
    writer: ResultWriter, results: Results, ledger: SlowLedger
) -> None:
    results.add_unpredicted(0, [LETTER])
    writer.commit_if_due(at_once=True)
    results.add_unpredicted(1, [LETTER])
    writer.commit_if_due(at_once=True)
    writer.commit_if_due(at_once=True)
    assert not results.are_committed
    assert ledger.num_started <= 1
    ledger.may_end.set()
    turn_until_committed(writer, results)
    assert results.are_committed
    assert ledger.num_started == 2


def test_a_commit_that_fails_ends_the_run(
    writer: ResultWriter, results: Results, ledger: SlowLedger
) -> None:
    ledger.error = OutputFailedError("out: no space is left on the device")
    ledger.may_end.set()
    results.add_unpredicted(0, [LETTER])
    with pytest.raises(OutputFailedError, match="no space"):
        turn_until_committed(writer, results)
