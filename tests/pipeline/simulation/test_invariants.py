"""The checks themselves: each wrong scheduler is detected."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.scheduling import Action, Event, Limits, Run, Scheduler, ShardArrived
from pipeline.simulation import BrokenInvariantError, Scenario, simulate
from pipeline.simulation.ledger import SimulatedLedger

SCENARIO = Scenario(images=3000, actors=(4,), decoders=4)


class LosesCalls(Scheduler):
    """From the 20th call on, loses every call."""

    num_runs = 0

    def next_actions(self) -> list[Action]:
        actions = super().next_actions()
        self.num_runs += sum(isinstance(action, Run) for action in actions)
        if self.num_runs >= 20:
            actions = [action for action in actions if not isinstance(action, Run)]
        return actions


class LeavesActorsIdle(Scheduler):
    """Hands out nothing while a call is in flight."""

    def next_actions(self) -> list[Action]:
        return [] if self.load(0).num_calls else super().next_actions()


class DropsRows(Scheduler):
    """Ignores the last image of each shard."""

    def handle(self, event: Event) -> None:
        if isinstance(event, ShardArrived):
            event = ShardArrived(event.shard, event.rows[:-1])
        super().handle(event)


class DuplicatesRows(Scheduler):
    """Schedules one image twice and another not at all, so that the sums are right."""

    def handle(self, event: Event) -> None:
        if isinstance(event, ShardArrived):
            event = ShardArrived(event.shard, np.append(event.rows[:-1], event.rows[0]))
        super().handle(event)


@pytest.mark.parametrize(
    ("make_scheduler", "message"),
    [
        (LosesCalls, "deadlock|idle"),
        (LeavesActorsIdle, "idle"),
        (DropsRows, "the scheduler has"),
        (DuplicatesRows, "twice"),
    ],
)
def test_a_wrong_scheduler_is_detected(
    make_scheduler: Callable[[Limits], Scheduler], message: str
) -> None:
    with pytest.raises(BrokenInvariantError, match=message):
        simulate(SCENARIO, make_scheduler)


def test_exceeding_a_queue_is_detected() -> None:
    scenario = SCENARIO.model_copy(update={"budget_gb": 0.04})
    with pytest.raises(BrokenInvariantError, match=r"queue 0: \d+ bytes of 40000000"):
        simulate(scenario, lambda limits: Scheduler(SCENARIO.limits))


def test_a_second_result_of_an_image_is_detected_before_and_after_its_commit() -> None:
    ledger = SimulatedLedger()
    ledger.add_shard(0, 4)
    ledger.complete(np.array([1, 2]))
    with pytest.raises(BrokenInvariantError, match="completed twice"):
        ledger.complete(np.array([2]))
    ledger.commit()
    with pytest.raises(BrokenInvariantError, match="completed twice"):
        ledger.complete(np.array([1]))
    ledger.complete(np.array([0, 3]))
    ledger.commit()
    with pytest.raises(BrokenInvariantError, match="completed twice"):
        ledger.complete(np.array([0]))


def test_only_uncommitted_results_are_pending_again_after_a_restart() -> None:
    ledger = SimulatedLedger()
    ledger.add_shard(0, 4)
    ledger.add_shard(1, 1)
    ledger.complete(np.array([1, 1 << 32]))
    ledger.commit()
    ledger.complete(np.array([2]))
    assert ledger.lose_uncommitted() == 1
    assert {shard: rows.tolist() for shard, rows in ledger.pending_rows()} == {0: [0, 2, 3]}
    assert ledger.num_pending == 3
