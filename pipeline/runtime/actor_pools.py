"""The decoders and the cascade actors of a run: start, failure, draining, and pool sizes.

Reports to the scheduler what happens to them; an actor has the same number in the scheduler and in
the supervisor.
"""

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from pipeline.runtime.actors.cascade import CallResult
from pipeline.runtime.supervised_actor import (
    ActorDown,
    ActorEvent,
    ActorGone,
    ActorKind,
    ActorUp,
    SupervisedActor,
)
from pipeline.runtime.supervisor import ActorSupervisor
from pipeline.scheduling import (
    DECODERS,
    ActorAdded,
    ActorDraining,
    ActorLost,
    ActorRange,
    ActorReady,
    ActorRemoved,
    Autoscaler,
    PoolMetrics,
    Scheduler,
)
from pipeline.units import counted

__all__ = ["ActorPoolSpecs", "ActorPools", "PoolSpec"]

logger = logging.getLogger(__name__)

_RESIZE_EVERY_S = 5.0
_FULL = 0.9


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """Actors of one kind and their number.

    Attributes:
        kind: how they are started.
        fewest: number at the start and lower bound.
        most: upper bound.
    """

    kind: ActorKind
    fewest: int = 1
    most: int = 1


@dataclass(frozen=True, slots=True)
class ActorPoolSpecs:
    """All actors of a run.

    Attributes:
        decoders: turn files into pixels.
        pools: run the stages, in their order.
        writer: writes predictions to Parquet files.
        stalled_s: restart an actor that has not replied for this many seconds.
    """

    decoders: PoolSpec
    pools: tuple[PoolSpec, ...]
    writer: ActorKind
    stalled_s: float = 300.0


@dataclass(slots=True)
class _Work:
    """Work of one pool since its size was last decided."""

    busy_s: float = 0.0
    num_done: int = 0
    num_forwarded: int = 0


class ActorPools:
    """The actors that the scheduler gives work to.

    Args:
        specs: kinds and numbers of the actors.
        supervisor: starts and removes them.
        scheduler: gets an event for each change.
        draining_nodes: returns the IDs of nodes that will be taken away.
    """

    def __init__(
        self,
        specs: ActorPoolSpecs,
        supervisor: ActorSupervisor,
        scheduler: Scheduler,
        draining_nodes: Callable[[], Collection[str]],
    ) -> None:
        self._specs = specs
        self._supervisor = supervisor
        self._scheduler = scheduler
        self._pool_of_kind = {specs.decoders.kind: DECODERS} | {
            spec.kind: pool for pool, spec in enumerate(specs.pools)
        }
        self._actors: dict[int, SupervisedActor] = {}
        self._draining_nodes = draining_nodes
        sizes = tuple(ActorRange(spec.fewest, spec.most) for spec in specs.pools)
        self._autoscaler = Autoscaler(sizes)
        self._is_resizable = any(size.most > size.fewest for size in sizes)
        self._resized_s = time.monotonic()
        self._work = [_Work() for _ in specs.pools]

    def start(self) -> None:
        """Starts the fewest actors of each pool; those with a model first, which take longest."""
        for spec in (*self._specs.pools, self._specs.decoders):
            for _ in range(spec.fewest):
                self._start(spec.kind)

    def actor(self, number: int) -> SupervisedActor:
        """The actor of a number in the scheduler's actions."""
        return self._actors[number]

    def pool_of(self, number: int) -> int:
        """Position of an actor's pool, or `DECODERS`."""
        return self._pool_of_kind[self._actors[number].kind]

    def handle(self, event: ActorEvent) -> None:
        """Reports to the scheduler what happened to an actor."""
        match event:
            case ActorUp(actor):
                self._scheduler.handle(ActorReady(actor.number, actor.node))
            case ActorDown(actor, reason, is_attempt):
                self._lose(actor, reason, is_attempt)
            case ActorGone(actor):
                self._forget(actor)

    def record_work(self, pool: int, result: CallResult) -> None:
        """Counts a call of a cascade actor, for the pool's size."""
        num_forwarded = sum(len(rows) for _, rows in result.forwarded)
        num_predicted = sum(len(rows) for rows, _ in result.predicted.values())
        work = self._work[pool]
        work.busy_s += result.busy_s
        work.num_done += num_forwarded + num_predicted + len(result.failed)
        work.num_forwarded += num_forwarded

    def retire(self, number: int) -> None:
        """Ends a draining actor that is empty."""
        actor = self._actors[number]
        logger.info("%s has handed over its images and ends", actor)
        self._remove(actor)

    def adjust(self) -> None:
        """Replaces actors on draining nodes and resizes the pools when it is time to."""
        draining = self._draining_nodes()
        for actor in list(self._actors.values()) if draining else ():
            if actor.node in draining and actor.is_up and not actor.is_leaving:
                logger.warning("the node of %s is draining; starting a replacement", actor)
                self._drain(actor)
                self._start(actor.kind)
        if self._is_resizable and time.monotonic() - self._resized_s >= _RESIZE_EVERY_S:
            self._resize()

    def _lose(self, actor: SupervisedActor, reason: str, is_attempt: bool) -> None:
        is_preempted = actor.node in self._draining_nodes()
        counts = is_attempt and not is_preempted
        pool = self._pool_of_kind[actor.kind]
        num_images, num_blocks = self._scheduler.held_by(actor.number)
        num_quarantined = self._scheduler.load(pool).quarantined_images
        logger.warning(
            "lost %s (%s): %s in %s go to other actors%s",
            actor,
            "its node was taken away" if is_preempted else reason,
            counted(num_images, "image"),
            counted(num_blocks, "block"),
            "; the attempt counts" if counts else "",
        )
        self._scheduler.handle(ActorLost(actor.number, preempted=not counts))
        num_quarantined = self._scheduler.load(pool).quarantined_images - num_quarantined
        if num_quarantined > 0:
            lost = counted(num_quarantined, "image")
            logger.warning("lost too often, and run alone now: %s", lost)
        if actor.is_leaving:
            self._remove(actor)

    def _start(self, kind: ActorKind) -> None:
        actor = self._supervisor.start(kind)
        self._actors[actor.number] = actor
        self._scheduler.handle(ActorAdded(actor.number, self._pool_of_kind[kind]))

    def _drain(self, actor: SupervisedActor) -> None:
        """Removes an actor once it has handed over what it holds."""
        actor.is_leaving = True
        if actor.is_up:
            self._scheduler.handle(ActorDraining(actor.number))
        else:
            self._remove(actor)

    def _remove(self, actor: SupervisedActor) -> None:
        self._supervisor.remove(actor)
        self._forget(actor)

    def _forget(self, actor: SupervisedActor) -> None:
        del self._actors[actor.number]
        self._scheduler.handle(ActorRemoved(actor.number))

    def _resize(self) -> None:
        now_s = time.monotonic()
        metrics = [self._metrics(pool, spec) for pool, spec in enumerate(self._specs.pools)]
        targets = self._autoscaler.targets(metrics, now_s - self._resized_s)
        self._resized_s = now_s
        self._work = [_Work() for _ in self._specs.pools]
        for spec, pool, target in zip(self._specs.pools, metrics, targets, strict=True):
            if target != pool.num_actors:
                logger.info("%s: %d actors instead of %d", spec.kind.name, target, pool.num_actors)
            for _ in range(pool.num_actors, target):
                self._start(spec.kind)
            for actor in self._staying(spec.kind)[target:]:
                self._drain(actor)

    def _metrics(self, pool: int, spec: PoolSpec) -> PoolMetrics:
        load, work = self._scheduler.load(pool), self._work[pool]
        full_bytes = _FULL * self._scheduler.queue_bytes[pool]
        staying = self._staying(spec.kind)
        return PoolMetrics(
            num_actors=len(staying),
            num_ready=sum(actor.is_up for actor in staying),
            is_starting=any(actor.is_starting for actor in staying),
            is_full=load.queue_bytes + load.reserved_bytes >= full_bytes,
            num_calls=load.num_calls,
            num_images=load.queued_images + load.held_images,
            busy_s=work.busy_s,
            num_done=work.num_done,
            num_forwarded=work.num_forwarded,
        )

    def _staying(self, kind: ActorKind) -> list[SupervisedActor]:
        """Oldest first, so that the newest are removed first."""
        return [
            actor for actor in self._actors.values() if actor.kind is kind and not actor.is_leaving
        ]
