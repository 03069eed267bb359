"""The simulated cluster: actors that start, die, drain and leave, and how many are idle."""

from collections import Counter
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
from pipeline.simulation.actors import SimulatedActor
from pipeline.simulation.event_queue import EventQueue
from pipeline.simulation.scenario import Scenario
from pipeline.simulation.statistics import Statistics

__all__ = ["Cluster"]


class Cluster:
    """All actors.

    Args:
        scenario: numbers of actors, and how they fail.
        events: for delayed starts.
        random: decides which actors are slow.
        statistics: collects the times of actors.
        report: passes an event to the scheduler.

    Attributes:
        actors: by number.
        num_idle: by pool.
    """

    def __init__(
        self,
        scenario: Scenario,
        events: EventQueue,
        random: np.random.Generator,
        statistics: Statistics,
        report: Callable[[Event], None],
    ) -> None:
        self._scenario, self._events, self._random = scenario, events, random
        self._statistics, self._report = statistics, report
        self._num_actors = 0
        self.actors: dict[int, SimulatedActor] = {}
        self.num_idle: Counter[int] = Counter()
        for pool, count in enumerate((scenario.decoders, *scenario.actors), start=DECODERS):
            for number in range(count):
                self.add(pool, f"pool{pool}-{number // scenario.actors_per_node}")

    def add(self, pool: int, node: str, delay_s: float = 0.0) -> None:
        """Adds an actor, which is up after `delay_s`."""
        number = self._num_actors
        self._num_actors += 1
        is_slow = self._random.random() < self._scenario.stragglers
        slowness = self._scenario.straggler_factor if is_slow else 1.0
        actor = SimulatedActor(number, pool, node, slowness, self._scenario)
        self.actors[number] = actor
        self._report(ActorAdded(number, pool))
        if delay_s:
            self._events.after(delay_s, partial(self._start, actor, actor.life))
        else:
            self._start(actor, actor.life)

    def _start(self, actor: SimulatedActor, life: int) -> None:
        """Starts an actor, unless it died or left in the meantime."""
        if actor.life != life or actor.is_up or actor.number not in self.actors:
            return
        actor.start(self._events.now_s)
        self.num_idle[actor.pool] += 1
        self._report(ActorReady(actor.number, actor.node))

    def kill(self, actor: SimulatedActor, preempted: bool = False, restarts: bool = True) -> None:
        """Ends an actor with all it holds; it starts again later."""
        self._end(actor)
        self._report(ActorLost(actor.number, preempted))
        if restarts:
            restart = partial(self._start, actor, actor.life)
            self._events.after(self._scenario.restart_s, restart)

    def drain(self, actor: SimulatedActor) -> None:
        """Asks the scheduler to drain an actor."""
        self.num_idle[actor.pool] -= actor.is_idle
        actor.is_draining = True
        self._report(ActorDraining(actor.number))

    def remove(self, actor: SimulatedActor) -> None:
        """Ends an actor for good."""
        self._end(actor)
        self._statistics.add_times(actor)
        del self.actors[actor.number]
        self._report(ActorRemoved(actor.number))

    def restart_all(self) -> None:
        """Introduces all actors to a new coordinator, which empties them."""
        for actor in self.actors.values():
            self._report(ActorAdded(actor.number, actor.pool))
            self._end(actor)
            restart = partial(self._start, actor, actor.life)
            self._events.after(self._scenario.restart_s, restart)

    def begin_call(self, actor: SimulatedActor) -> None:
        """An actor gets a call."""
        self.num_idle[actor.pool] -= actor.is_idle
        actor.num_calls += 1

    def end_call(self, actor: SimulatedActor) -> None:
        """An actor reports a call."""
        actor.num_calls -= 1
        self.num_idle[actor.pool] += actor.is_idle

    def _end(self, actor: SimulatedActor) -> None:
        self.num_idle[actor.pool] -= actor.is_idle
        actor.end(self._events.now_s)
