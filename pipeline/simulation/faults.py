"""What goes wrong, and when: seeded, at random moments, at the rates of a scenario."""

from collections.abc import Callable
from functools import partial

from pipeline.scheduling import DECODERS
from pipeline.simulation.workers import SimulatedActor
from pipeline.simulation.world import World

__all__ = ["Faults"]


class Faults:
    """Puts faults on a world's agenda.

    Args:
        world: to disturb.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random
        self._num_nodes = 0
        scenario = world.scenario
        kinds: dict[str, tuple[float, Callable[[], bool]]] = {
            "actor_losses": (scenario.actor_losses, self._lose_actor),
            "node_losses": (scenario.node_losses, self._lose_node),
            "spot_drains": (scenario.spot_drains, self._drain_node),
            "object_losses": (scenario.object_losses, self._lose_object),
            "resizes": (scenario.resizes, self._resize),
            "coordinator_losses": (scenario.coordinator_losses, self._lose_coordinator),
        }
        for name, (per_hour, happen) in kinds.items():
            if per_hour:
                self._plan(name, per_hour, happen)

    def _plan(self, name: str, per_hour: float, happen: Callable[[], bool]) -> None:
        delay_s = self._random.exponential(3600 / per_hour)
        self._world.agenda.after(
            delay_s, partial(self._happen, name, per_hour, happen), is_work=False
        )

    def _happen(self, name: str, per_hour: float, happen: Callable[[], bool]) -> None:
        if self._world.is_finished:
            return
        if happen():
            faults = self._world.counts.faults
            faults[name] = faults.get(name, 0) + 1
        self._plan(name, per_hour, happen)

    def _any_alive(self) -> SimulatedActor | None:
        alive = [actor for actor in self._world.fleet.actors.values() if actor.is_alive]
        return alive[self._random.integers(len(alive))] if alive else None

    def _lose_actor(self) -> bool:
        actor = self._any_alive()
        if actor is not None:
            self._world.fleet.kill(actor, preempted=False)
        return actor is not None

    def _lose_node(self) -> bool:
        actor = self._any_alive()
        if actor is None:
            return False
        for other in list(self._world.fleet.actors.values()):
            if other.node == actor.node and other.is_alive:
                self._world.fleet.kill(other, preempted=False)
        self._lose_objects_on(actor.node)
        return True

    def _lose_objects_on(self, node: str) -> None:
        for block in self._world.blocks.on_node(node):
            self._world.lose_object(block, is_noticed=self._random.random() < 0.5)

    def _drain_node(self) -> bool:
        """A spot node gets notice; others come up in its place when it is gone."""
        actor = self._any_alive()
        if actor is None:
            return False
        self._num_nodes += 1
        replacement = f"new-{self._num_nodes}"
        for other in list(self._world.fleet.actors.values()):
            if other.node == actor.node:
                self._world.fleet.add(other.pool, replacement, self._delay_s())
                if other.is_ready and not other.is_draining:
                    self._world.fleet.drain(other)
        self._world.agenda.after(
            self._world.scenario.notice_s, partial(self._end_node, actor.node), is_work=False
        )
        return True

    def _delay_s(self) -> float:
        return self._world.scenario.notice_s + self._world.scenario.restart_s

    def _end_node(self, node: str) -> None:
        for actor in list(self._world.fleet.actors.values()):
            if actor.node == node:
                if actor.is_ready and self._random.random() < 0.5:
                    self._world.fleet.kill(actor, preempted=True, restarts=False)
                self._world.fleet.remove(actor)
        self._lose_objects_on(node)

    def _lose_object(self) -> bool:
        blocks = self._world.blocks.whole()
        if not blocks:
            return False
        block = blocks[self._random.integers(len(blocks))]
        self._world.lose_object(block, is_noticed=self._random.random() < 0.5)
        return True

    def _resize(self) -> bool:
        """A pool grows, or shrinks as long as it stays above half its size."""
        actors, scenario = self._world.fleet.actors.values(), self._world.scenario
        pool = int(self._random.integers(DECODERS, len(scenario.actors)))
        planned = scenario.decoders if pool == DECODERS else scenario.actors[pool]
        staying = [actor for actor in actors if actor.pool == pool and not actor.is_draining]
        ready = [actor for actor in staying if actor.is_ready]
        if self._random.random() < 0.5 and ready and len(staying) > max(1, planned // 2):
            self._world.fleet.drain(ready[self._random.integers(len(ready))])
        elif len(staying) < 2 * planned:
            self._num_nodes += 1
            self._world.fleet.add(pool, f"new-{self._num_nodes}", scenario.restart_s)
        return True

    def _lose_coordinator(self) -> bool:
        self._world.restart_coordinator()
        return True
