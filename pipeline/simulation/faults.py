"""Faults: seeded, at random times, at the rates of a scenario."""

from collections.abc import Callable
from functools import partial

from pipeline.scheduling import DECODERS
from pipeline.simulation.actors import SimulatedActor
from pipeline.simulation.coordinator import SimulatedCoordinator

__all__ = ["schedule_faults"]


def schedule_faults(coordinator: SimulatedCoordinator) -> None:
    """Schedules all faults that the coordinator's scenario has."""
    faults = _Faults(coordinator)
    scenario = coordinator.scenario
    for name, per_hour, occur in (
        ("actor_losses", scenario.actor_losses, faults.lose_actor),
        ("node_losses", scenario.node_losses, faults.lose_node),
        ("spot_drains", scenario.spot_drains, faults.drain_node),
        ("object_losses", scenario.object_losses, faults.lose_object),
        ("resizes", scenario.resizes, faults.resize),
        ("coordinator_losses", scenario.coordinator_losses, faults.lose_coordinator),
    ):
        if per_hour:
            faults.schedule(name, per_hour, occur)


class _Faults:
    """Each kind of fault is a method that returns whether there was something to fail."""

    def __init__(self, coordinator: SimulatedCoordinator) -> None:
        self._coordinator = coordinator
        self._cluster, self._scenario = coordinator.cluster, coordinator.scenario
        self._events, self._random = coordinator.events, coordinator.random
        self._num_nodes = 0

    def schedule(self, name: str, per_hour: float, occur: Callable[[], bool]) -> None:
        delay_s = self._random.exponential(3600 / per_hour)
        self._events.after(delay_s, partial(self._occur, name, per_hour, occur), is_work=False)

    def _occur(self, name: str, per_hour: float, occur: Callable[[], bool]) -> None:
        if self._coordinator.is_finished:
            return
        self._coordinator.statistics.faults[name] += occur()
        self.schedule(name, per_hour, occur)

    def _any_actor(self) -> SimulatedActor | None:
        actors = [actor for actor in self._cluster.actors.values() if actor.is_up]
        return actors[self._random.integers(len(actors))] if actors else None

    def _on(self, node: str) -> list[SimulatedActor]:
        return [actor for actor in self._cluster.actors.values() if actor.node == node]

    def _new_node(self) -> str:
        self._num_nodes += 1
        return f"new-{self._num_nodes}"

    def lose_actor(self) -> bool:
        actor = self._any_actor()
        if actor is not None:
            self._cluster.kill(actor)
        return actor is not None

    def lose_node(self) -> bool:
        actor = self._any_actor()
        if actor is None:
            return False
        for other in self._on(actor.node):
            if other.is_up:
                self._cluster.kill(other)
        self._lose_objects(self._coordinator.objects.blocks(actor.node))
        return True

    def _lose_objects(self, blocks: list[int]) -> None:
        for block in blocks:
            self._coordinator.lose_object(block, is_noticed=self._random.random() < 0.5)

    def drain_node(self) -> bool:
        """A spot node gets notice; a new one takes its place once it is gone."""
        actor = self._any_actor()
        if actor is None:
            return False
        replacement, notice_s = self._new_node(), self._scenario.notice_s
        for other in self._on(actor.node):
            self._cluster.add(other.pool, replacement, notice_s + self._scenario.restart_s)
            if other.is_up and not other.is_draining:
                self._cluster.drain(other)
        self._events.after(notice_s, partial(self._end_node, actor.node), is_work=False)
        return True

    def _end_node(self, node: str) -> None:
        for actor in self._on(node):
            if actor.is_up and self._random.random() < 0.5:
                self._cluster.kill(actor, preempted=True, restarts=False)
            self._cluster.remove(actor)
        self._lose_objects(self._coordinator.objects.blocks(node))

    def lose_object(self) -> bool:
        blocks = self._coordinator.objects.blocks()
        if blocks:
            self._lose_objects([blocks[self._random.integers(len(blocks))]])
        return bool(blocks)

    def resize(self) -> bool:
        """A pool grows up to twice its size, or shrinks down to half of it."""
        scenario = self._scenario
        pool = int(self._random.integers(DECODERS, len(scenario.actors)))
        planned = scenario.decoders if pool == DECODERS else scenario.actors[pool]
        staying = [
            actor
            for actor in self._cluster.actors.values()
            if actor.pool == pool and not actor.is_draining
        ]
        ready = [actor for actor in staying if actor.is_up]
        if self._random.random() < 0.5 and ready and len(staying) > max(1, planned // 2):
            self._cluster.drain(ready[self._random.integers(len(ready))])
        elif len(staying) < 2 * planned:
            self._cluster.add(pool, self._new_node(), scenario.restart_s)
        return True

    def lose_coordinator(self) -> bool:
        self._coordinator.restart()
        return True
