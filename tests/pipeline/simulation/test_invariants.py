"""The checks themselves: a scheduler that does wrong is found out."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.scheduling import Action, Event, Run, Scheduler, ShardArrived
from pipeline.simulation import BrokenInvariantError, Scenario
from pipeline.simulation.accounts import Accounts
from pipeline.simulation.invariants import Invariants
from pipeline.simulation.world import World

SCENARIO = Scenario(images=3000, actors=(4,), decoders=4)


class Forgets(Scheduler):
    """Loses the 20th call: its images are never heard of again."""

    num_runs = 0

    def next_actions(self) -> list[Action]:
        actions = super().next_actions()
        self.num_runs += sum(isinstance(action, Run) for action in actions)
        if self.num_runs >= 20:
            actions = [action for action in actions if not isinstance(action, Run)]
        return actions


class Loiters(Scheduler):
    """Hands out one action at a time and forgets to ask for more while there is something to do."""

    def next_actions(self) -> list[Action]:
        if self.load(0).num_calls:
            return []
        return super().next_actions()


class DropsRows(Scheduler):
    """Does not take note of the last image of a shard."""

    def handle(self, event: Event) -> None:
        if isinstance(event, ShardArrived):
            event = ShardArrived(event.shard, event.rows[:-1])
        super().handle(event)


class MixesUpRows(Scheduler):
    """Decodes one image twice and another not at all; the sums are right."""

    def handle(self, event: Event) -> None:
        if isinstance(event, ShardArrived):
            event = ShardArrived(event.shard, np.append(event.rows[:-1], event.rows[0]))
        super().handle(event)


class Overspends(Scheduler):
    """Decodes whatever the budget."""

    def __init__(self) -> None:
        super().__init__(Scenario(images=3000, actors=(4,), decoders=4).limits)


def run(scheduler: Scheduler, scenario: Scenario = SCENARIO) -> None:
    world = World(scenario)
    world.replace_scheduler(scheduler)
    invariants = Invariants(scenario)
    while not world.is_finished:
        world.step()
        invariants.check(world)
    invariants.check_end(world)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Forgets, "deadlock|idle"),
        (Loiters, "idle"),
        (DropsRows, "the scheduler knows of"),
        (MixesUpRows, "twice"),
    ],
)
def test_what_a_wrong_scheduler_does_is_noticed(
    make: Callable[..., Scheduler], message: str
) -> None:
    with pytest.raises(BrokenInvariantError, match=message):
        run(make(SCENARIO.limits))


def test_too_many_bytes_are_noticed() -> None:
    with pytest.raises(BrokenInvariantError, match=r"queue 0: \d+ bytes of 40000000"):
        run(Overspends(), SCENARIO.model_copy(update={"budget_gb": 0.04}))


def test_an_image_that_ends_twice_is_noticed_before_and_after_its_commit() -> None:
    accounts = Accounts()
    accounts.list_shard(0, 4)
    accounts.end(0, np.array([1, 2]))
    with pytest.raises(BrokenInvariantError, match="ended twice"):
        accounts.end(0, np.array([2]))
    accounts.commit()
    with pytest.raises(BrokenInvariantError, match="ended twice"):
        accounts.end(0, np.array([1]))
    accounts.end(0, np.array([0, 3]))
    accounts.commit()
    with pytest.raises(BrokenInvariantError, match="ended twice"):
        accounts.end(0, np.array([0]))


def test_only_what_was_not_committed_is_open_again_after_a_restart() -> None:
    accounts = Accounts()
    accounts.list_shard(0, 4)
    accounts.list_shard(1, 1)
    accounts.end(0, np.array([1]))
    accounts.end(1, np.array([0]))
    accounts.commit()
    accounts.end(0, np.array([2]))
    assert {s: rows.tolist() for s, rows in accounts.lose_uncommitted().items()} == {0: [0, 2, 3]}
    assert accounts.num_open == 3
