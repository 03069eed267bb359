"""The actors as the scheduler knows them: hired, lost, drained, let go, and how many of them.

Between `Workers` (Ray) and `Scheduler` (numbers): tells the scheduler what became of an actor, and
the log what was lost with it and what is done about it. A worker's number is the scheduler's.
"""

import logging
import time
from collections.abc import Callable
from typing import Any

from pipeline.runtime.actors.cascade import Receipt
from pipeline.output.parquet_files import UnwrittenFile, WrittenFile
from pipeline.runtime.nodes import DrainingNodes
from pipeline.scheduling import (
    DECODERS,
    ActorAdded,
    ActorDraining,
    ActorLost,
    ActorReady,
    ActorRemoved,
    PoolSizer,
    Scheduler,
    Seen,
    Size,
)
from pipeline.runtime.team import Crowd, Team
from pipeline.runtime.supervisor import ActorKind, Worker, Workers

__all__ = ["Staff"]

logger = logging.getLogger(__name__)

_SIZE_EVERY_S = 5.0
_FULL = 0.9


class Staff:
    """All actors of a run.

    Args:
        scheduler: told what becomes of them.
        team: who they are.
        stalled_s: an actor that owes an answer and says nothing for so long is started anew.
        on_writer_up: called when the writer is up, at first and after each loss.
    """

    def __init__(
        self, scheduler: Scheduler, team: Team, stalled_s: float, on_writer_up: Callable[[], None]
    ) -> None:
        self._scheduler = scheduler
        self._team = team
        self._pool_of_kind = {team.decoders.kind: DECODERS} | {
            crowd.kind: pool for pool, crowd in enumerate(team.pools)
        }
        self._on_writer_up = on_writer_up
        self._workers = Workers(self, stalled_s)
        self._of_number: dict[int, Worker] = {}
        self._leaving: set[Worker] = set()
        self._draining = DrainingNodes()
        sizes = tuple(Size(crowd.fewest, crowd.most) for crowd in team.pools)
        self._sizer = PoolSizer(sizes)
        self._is_sized = any(size.most > size.fewest for size in sizes)
        self._sized_s = time.monotonic()
        self._work = [[0.0, 0, 0] for _ in team.pools]  # busy seconds, images done, forwarded

    def start(self) -> None:
        """Starts all; the cascades first, which take longest."""
        for crowd in (*self._team.pools, self._team.decoders):
            for _ in range(crowd.fewest):
                self._hire(crowd.kind)
        self._writer = self._workers.start(self._team.writer)

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
        """See `Workers.expect`."""
        worker = self._of_number[actor]
        self._workers.expect(reference, worker, what, on_answer, on_input_lost, patience_s)

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
        self._workers.expect(written, self._writer, lambda: what, on_written, on_tables_lost)

    def expect_writer_only(self) -> None:
        """Nothing that others still owe is waited for any more."""
        self._workers.expect_only(self._writer)

    def wait(self) -> None:
        """See `Workers.wait`."""
        self._workers.wait()

    def look_after(self) -> None:
        """Takes answers; lets actors go that must or may, and hires others."""
        self._workers.wait()
        self._leave_draining_nodes()
        if self._is_sized and time.monotonic() - self._sized_s >= _SIZE_EVERY_S:
            self._set_sizes()

    def note_work(self, actor: int, receipt: Receipt) -> int:
        """What a call of a cascade actor came to, for the pools' sizes; returns its pool."""
        pool = self._pool_of_kind[self._of_number[actor].kind]
        forwarded = sum(len(rows) for _, rows in receipt.pieces)
        answered = sum(len(rows) for rows, _ in receipt.answered.values())
        sums = self._work[pool]
        sums[0] += receipt.busy_s
        sums[1] += forwarded + answered + len(receipt.failed)
        sums[2] += forwarded
        return pool

    def retire(self, actor: int) -> None:
        """An actor that drained is empty."""
        worker = self._of_number[actor]
        logger.info("%s has handed over all it held and ends", worker)
        self._workers.remove(worker)

    def on_up(self, worker: Worker) -> None:
        """See `workers.Listener`."""
        if worker.kind is self._team.writer:
            self._on_writer_up()
        else:
            self._scheduler.handle(ActorReady(worker.number, worker.node))

    def on_lost(self, worker: Worker, why: str, counts: bool) -> None:
        """See `workers.Listener`."""
        if worker.kind is self._team.writer:
            logger.warning("lost %s (%s); it writes its last file again", worker, why)
            return
        is_preempted = worker.node in self._draining.names()
        counts = counts and not is_preempted
        pool = self._pool_of_kind[worker.kind]
        images, parcels = self._scheduler.holding(worker.number)
        suspects = self._scheduler.load(pool).images_suspect
        logger.warning(
            "lost %s (%s): %d images in %d parcels go to others%s",
            worker,
            "its node was taken away" if is_preempted else why,
            images,
            parcels,
            "; the attempt counts" if counts else "",
        )
        self._scheduler.handle(ActorLost(worker.number, preempted=not counts))
        suspects = self._scheduler.load(pool).images_suspect - suspects
        if suspects > 0:
            logger.warning("%d images were lost too often; they are run alone now", suspects)
        if worker in self._leaving:
            self._workers.remove(worker)

    def on_gone(self, worker: Worker) -> None:
        """See `workers.Listener`."""
        self._leaving.discard(worker)
        if self._of_number.pop(worker.number, None) is not None:
            self._scheduler.handle(ActorRemoved(worker.number))

    def can_do_without(self, worker: Worker) -> bool:
        """See `workers.Listener`."""
        others = self._workers.of_kind(worker.kind)
        return any(
            other.is_up and other is not worker and other not in self._leaving for other in others
        )

    def _hire(self, kind: ActorKind) -> None:
        worker = self._workers.start(kind)
        self._of_number[worker.number] = worker
        self._scheduler.handle(ActorAdded(worker.number, self._pool_of_kind[kind]))

    def _let_go(self, worker: Worker) -> None:
        """It gets no new work, hands over what it holds, and retires."""
        self._leaving.add(worker)
        if worker.is_up:
            self._scheduler.handle(ActorDraining(worker.number))
        else:
            self._workers.remove(worker)

    def _leave_draining_nodes(self) -> None:
        names = self._draining.names()
        for worker in self._workers.on_nodes(names) if names else ():
            if worker in self._leaving or worker.kind is self._team.writer or not worker.is_up:
                continue
            logger.warning("the node of %s is about to go: another takes its place", worker)
            self._let_go(worker)
            self._hire(worker.kind)

    def _set_sizes(self) -> None:
        now_s = time.monotonic()
        seen = [self._seen(pool, crowd) for pool, crowd in enumerate(self._team.pools)]
        targets = self._sizer.targets(seen, now_s - self._sized_s)
        self._sized_s = now_s
        self._work = [[0.0, 0, 0] for _ in self._team.pools]
        for crowd, pool, target in zip(self._team.pools, seen, targets, strict=True):
            if target != pool.num_actors:
                logger.info("%s: %d actors instead of %d", crowd.kind.name, target, pool.num_actors)
            for _ in range(pool.num_actors, target):
                self._hire(crowd.kind)
            for worker in self._staying(crowd)[target:]:
                self._let_go(worker)

    def _seen(self, pool: int, crowd: Crowd) -> Seen:
        load = self._scheduler.load(pool)
        busy_s, num_done, num_forwarded = self._work[pool]
        staying = self._staying(crowd)
        return Seen(
            num_actors=len(staying),
            num_ready=sum(worker.is_up for worker in staying),
            is_starting=any(worker.is_starting for worker in staying),
            is_full=load.queue_bytes + load.kept_bytes >= _FULL * self._scheduler.queue_bytes[pool],
            num_calls=load.num_calls,
            images=load.images_waiting + load.images_held,
            busy_s=busy_s,
            num_done=int(num_done),
            num_forwarded=int(num_forwarded),
        )

    def _staying(self, crowd: Crowd) -> list[Worker]:
        """In the order in which they came, so that the newest go first."""
        return [
            worker for worker in self._workers.of_kind(crowd.kind) if worker not in self._leaving
        ]
