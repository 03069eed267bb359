"""The actors of a simulated cluster: how they come up, die, drain and go, and who is idle."""

from collections.abc import Callable
from functools import partial

import numpy as np

from pipeline.scheduling import (
    DECODERS,
    ActorAdded,
    ActorDraining,
    ActorLost,
    ActorReady,
    ActorRemoved,
    Event,
)
from pipeline.simulation.agenda import Agenda
from pipeline.simulation.counts import SimulationCounts
from pipeline.simulation.scenario import Scenario
from pipeline.simulation.workers import SimulatedActor, SimulatedCascade

__all__ = ["Fleet"]


class Fleet:
    """All actors.

    Args:
        scenario: how many of which kind.
        agenda: for restarts.
        random: for what is left to chance.
        counts: takes the times of actors that are gone.
        tell: reports an event to the scheduler.
    """

    def __init__(
        self,
        scenario: Scenario,
        agenda: Agenda,
        random: np.random.Generator,
        counts: SimulationCounts,
        tell: Callable[[Event], None],
    ) -> None:
        self._scenario, self._agenda, self._random = scenario, agenda, random
        self._counts, self._tell = counts, tell
        self._num_actors = 0
        self.actors: dict[int, SimulatedActor] = {}
        self.idle: dict[int, int] = dict.fromkeys(range(DECODERS, len(scenario.actors)), 0)
        for pool in self.idle:
            count = scenario.decoders if pool == DECODERS else scenario.actors[pool]
            for number in range(count):
                kind = "decode" if pool == DECODERS else f"pool{pool}"
                self.add(pool, f"{kind}-{number // scenario.actors_per_node}", delay_s=0.0)

    def add(self, pool: int, node: str, delay_s: float) -> None:
        """A new actor starts."""
        number = self._num_actors
        self._num_actors += 1
        is_straggler = self._random.random() < self._scenario.stragglers
        slowness = self._scenario.straggler_factor if is_straggler else 1.0
        kind = SimulatedActor if pool == DECODERS else SimulatedCascade
        actor = self.actors[number] = kind(number, pool, node, slowness)
        self._tell(ActorAdded(number, pool))
        if delay_s:
            self._agenda.after(delay_s, partial(self.raise_again, number, actor.life))
        else:
            self.raise_again(number, actor.life)

    def raise_again(self, number: int, life: int) -> None:
        """An actor comes up, unless it died or went in the meantime."""
        actor = self.actors.get(number)
        if actor is None or actor.life != life or actor.is_alive:
            return
        if isinstance(actor, SimulatedCascade):
            actor.empty(self._scenario)
        actor.rise(self._agenda.now_s)
        self.idle[actor.pool] += 1
        self._tell(ActorReady(number, actor.node))

    def kill(self, actor: SimulatedActor, preempted: bool, restarts: bool = True) -> None:
        """An actor dies with all it holds; it comes up again later."""
        self.idle[actor.pool] -= actor.is_idle
        actor.die(self._agenda.now_s)
        actor.is_ready = False
        actor.num_calls = 0
        self._tell(ActorLost(actor.number, preempted))
        if restarts:
            again = partial(self.raise_again, actor.number, actor.life)
            self._agenda.after(self._scenario.restart_s, again)

    def drain(self, actor: SimulatedActor) -> None:
        """An actor is to go."""
        self.idle[actor.pool] -= actor.is_idle
        actor.is_draining = True
        self._tell(ActorDraining(actor.number))

    def remove(self, actor: SimulatedActor) -> None:
        """An actor is gone for good."""
        self.idle[actor.pool] -= actor.is_idle
        actor.die(self._agenda.now_s)
        self._counts.retire(actor, self._agenda.now_s)
        del self.actors[actor.number]
        self._tell(ActorRemoved(actor.number))

    def restart(self) -> None:
        """A new coordinator empties all actors and knows none of them yet."""
        for pool in self.idle:
            self.idle[pool] = 0
        for actor in self.actors.values():
            self._tell(ActorAdded(actor.number, actor.pool))
            actor.die(self._agenda.now_s)
            actor.is_ready = actor.is_draining = False
            again = partial(self.raise_again, actor.number, actor.life)
            self._agenda.after(self._scenario.restart_s, again)

    def take(self, actor: SimulatedActor) -> None:
        """An actor gets a call."""
        self.idle[actor.pool] -= actor.is_idle
        actor.num_calls += 1

    def free(self, actor: SimulatedActor) -> None:
        """An actor reports a call."""
        actor.num_calls -= 1
        self.idle[actor.pool] += actor.is_idle
