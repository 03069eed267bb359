"""The actors as the scheduler knows them: hired, lost, drained, let go, and how many of them.

Between `ActorSupervisor` (Ray) and `Scheduler` (numbers): tells the scheduler what became of an actor, and
the log what was lost with it and what is done about it. A worker's number is the scheduler's.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from pipeline.output.parquet_files import UnwrittenFile, WrittenFile
from pipeline.runtime.actors.cascade import CallResult
from pipeline.runtime.nodes import DrainingNodes
from pipeline.runtime.supervisor import ActorKind, ActorSupervisor, SupervisedActor
from pipeline.runtime.team import ActorPoolSpecs, PoolSpec
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

__all__ = ["ActorPools"]

logger = logging.getLogger(__name__)

_SIZE_EVERY_S = 5.0
_FULL = 0.9


class ActorPools:
    """All actors of a run.

    Args:
        scheduler: told what becomes of them.
        specs: who they are.
        stalled_s: an actor that owes an answer and says nothing for so long is started anew.
        on_writer_up: called when the writer is up, at first and after each loss.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        specs: ActorPoolSpecs,
        stalled_s: float,
        on_writer_up: Callable[[], None],
    ) -> None:
        self._scheduler = scheduler
        self._specs = specs
        self._pool_of_kind = {specs.decoders.kind: DECODERS} | {
            spec.kind: pool for pool, spec in enumerate(specs.pools)
        }
        self._on_writer_up = on_writer_up
        self._supervisor = ActorSupervisor(self, stalled_s)
        self._of_number: dict[int, SupervisedActor] = {}
        self._leaving: set[SupervisedActor] = set()
        self._draining = DrainingNodes()
        sizes = tuple(ActorRange(spec.fewest, spec.most) for spec in specs.pools)
        self._sizer = Autoscaler(sizes)
        self._is_sized = any(size.most > size.fewest for size in sizes)
        self._sized_s = time.monotonic()
        self._work = [[0.0, 0, 0] for _ in specs.pools]  # busy seconds, images done, forwarded

    def start(self) -> None:
        """Starts all; the cascades first, which take longest."""
        for spec in (*self._specs.pools, self._specs.decoders):
            for _ in range(spec.fewest):
                self._hire(spec.kind)
        self._writer = self._supervisor.start(self._specs.writer)

    def handle(self, actor: int) -> Any:
        """Ray's handle."""
        return self._of_number[actor].handle

    def expect(
        self,
        reference: Any,
        actor: int,
        what: Callable[[], str],
        on_answer: Callable[[Any], None],
        on_input_lost: Callable[[], None] | None = None,
        patience_s: float = 0.0,
    ) -> None:
        """See `ActorSupervisor.expect`."""
        worker = self._of_number[actor]
        self._supervisor.expect(reference, worker, what, on_answer, on_input_lost, patience_s)

    def write(
        self,
        tables: list[Any],
        on_written: Callable[[WrittenFile | UnwrittenFile], None],
        on_tables_lost: Callable[[], None],
    ) -> None:
        """Lets the writer write one file, once it is up; see `results.Write`."""
        if not self._writer.is_up:
            return  # `on_writer_up` has it written
        written = self._writer.handle.write.remote(*tables)
        what = f"a file of {len(tables)} tables"
        self._supervisor.expect(written, self._writer, lambda: what, on_written, on_tables_lost)

    def expect_writer_only(self) -> None:
        """Nothing that others still owe is waited for any more."""
        self._supervisor.expect_only(self._writer)

    def wait(self) -> None:
        """See `ActorSupervisor.wait`."""
        self._supervisor.wait()

    def look_after(self) -> None:
        """Takes answers; lets actors go that must or may, and hires others."""
        self._supervisor.wait()
        self._leave_draining_nodes()
        if self._is_sized and time.monotonic() - self._sized_s >= _SIZE_EVERY_S:
            self._set_sizes()

    def note_work(self, actor: int, result: CallResult) -> int:
        """What a call of a cascade actor came to, for the pools' sizes; returns its pool."""
        pool = self._pool_of_kind[self._of_number[actor].kind]
        forwarded = sum(len(rows) for _, rows in result.pieces)
        answered = sum(len(rows) for rows, _ in result.answered.values())
        sums = self._work[pool]
        sums[0] += result.busy_s
        sums[1] += forwarded + answered + len(result.failed)
        sums[2] += forwarded
        return pool

    def retire(self, actor: int) -> None:
        """An actor that drained is empty."""
        worker = self._of_number[actor]
        logger.info("%s has handed over all it held and ends", worker)
        self._supervisor.remove(worker)

    def on_up(self, worker: SupervisedActor) -> None:
        """See `workers.Listener`."""
        if worker.kind is self._specs.writer:
            self._on_writer_up()
        else:
            self._scheduler.handle(ActorReady(worker.number, worker.node))

    def on_lost(self, worker: SupervisedActor, why: str, counts: bool) -> None:
        """See `workers.Listener`."""
        if worker.kind is self._specs.writer:
            logger.warning("lost %s (%s); it writes its last file again", worker, why)
            return
        is_preempted = worker.node in self._draining.names()
        counts = counts and not is_preempted
        pool = self._pool_of_kind[worker.kind]
        images, blocks = self._scheduler.held_by(worker.number)
        suspects = self._scheduler.load(pool).quarantined_images
        logger.warning(
            "lost %s (%s): %d images in %d blocks go to others%s",
            worker,
            "its node was taken away" if is_preempted else why,
            images,
            blocks,
            "; the attempt counts" if counts else "",
        )
        self._scheduler.handle(ActorLost(worker.number, preempted=not counts))
        suspects = self._scheduler.load(pool).quarantined_images - suspects
        if suspects > 0:
            logger.warning("%d images were lost too often; they are run alone now", suspects)
        if worker in self._leaving:
            self._supervisor.remove(worker)

    def on_gone(self, worker: SupervisedActor) -> None:
        """See `workers.Listener`."""
        self._leaving.discard(worker)
        if self._of_number.pop(worker.number, None) is not None:
            self._scheduler.handle(ActorRemoved(worker.number))

    def can_do_without(self, worker: SupervisedActor) -> bool:
        """See `workers.Listener`."""
        others = self._supervisor.of_kind(worker.kind)
        return any(
            other.is_up and other is not worker and other not in self._leaving for other in others
        )

    def _hire(self, kind: ActorKind) -> None:
        worker = self._supervisor.start(kind)
        self._of_number[worker.number] = worker
        self._scheduler.handle(ActorAdded(worker.number, self._pool_of_kind[kind]))

    def _let_go(self, worker: SupervisedActor) -> None:
        """It gets no new work, hands over what it holds, and retires."""
        self._leaving.add(worker)
        if worker.is_up:
            self._scheduler.handle(ActorDraining(worker.number))
        else:
            self._supervisor.remove(worker)

    def _leave_draining_nodes(self) -> None:
        names = self._draining.names()
        for worker in self._supervisor.on_nodes(names) if names else ():
            if worker in self._leaving or worker.kind is self._specs.writer or not worker.is_up:
                continue
            logger.warning("the node of %s is about to go: another takes its place", worker)
            self._let_go(worker)
            self._hire(worker.kind)

    def _set_sizes(self) -> None:
        now_s = time.monotonic()
        seen = [self._seen(pool, spec) for pool, spec in enumerate(self._specs.pools)]
        targets = self._sizer.targets(seen, now_s - self._sized_s)
        self._sized_s = now_s
        self._work = [[0.0, 0, 0] for _ in self._specs.pools]
        for spec, pool, target in zip(self._specs.pools, seen, targets, strict=True):
            if target != pool.num_actors:
                logger.info("%s: %d actors instead of %d", spec.kind.name, target, pool.num_actors)
            for _ in range(pool.num_actors, target):
                self._hire(spec.kind)
            for worker in self._staying(spec)[target:]:
                self._let_go(worker)

    def _seen(self, pool: int, spec: PoolSpec) -> PoolMetrics:
        load = self._scheduler.load(pool)
        busy_s, num_done, num_forwarded = self._work[pool]
        staying = self._staying(spec)
        return PoolMetrics(
            num_actors=len(staying),
            num_ready=sum(worker.is_up for worker in staying),
            is_starting=any(worker.is_starting for worker in staying),
            is_full=load.queue_bytes + load.reserved_bytes
            >= _FULL * self._scheduler.queue_bytes[pool],
            num_calls=load.num_calls,
            num_images=load.queued_images + load.held_images,
            busy_s=busy_s,
            num_done=int(num_done),
            num_forwarded=int(num_forwarded),
        )

    def _staying(self, spec: PoolSpec) -> list[SupervisedActor]:
        """In the order in which they came, so that the newest go first."""
        return [
            worker for worker in self._supervisor.of_kind(spec.kind) if worker not in self._leaving
        ]
