"""The simulated coordinator: executes the scheduler's actions in virtual time, and reports events.

Does what the coordinator, Ray and the actors do on a real cluster, without any of them.
"""

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from pipeline.scheduling import (
    Action,
    BlockDecoded,
    CallFinished,
    Decode,
    Event,
    Flush,
    Forwarded,
    GiveUp,
    Keep,
    Limits,
    ObjectLost,
    Release,
    Retire,
    Rows,
    Run,
    Scheduler,
    ShardArrived,
    SourceEnded,
)
from pipeline.simulation.actors import CallOutcome, SimulatedActor
from pipeline.simulation.archive import Archive
from pipeline.simulation.cluster import Cluster
from pipeline.simulation.event_queue import EventQueue
from pipeline.simulation.ledger import SimulatedLedger
from pipeline.simulation.object_store import ObjectStore, rows_by_block
from pipeline.simulation.scenario import Scenario
from pipeline.simulation.statistics import Statistics

__all__ = ["SimulatedCoordinator"]

_SLOW_STORAGE = 20.0


class SimulatedCoordinator:
    """A run on a simulated cluster.

    Args:
        scenario: what is simulated.
        make_scheduler: also called after each loss of the coordinator.
    """

    def __init__(
        self, scenario: Scenario, make_scheduler: Callable[[Limits], Scheduler] = Scheduler
    ) -> None:
        self.scenario, self.limits = scenario, scenario.limits
        self.events = EventQueue()
        self.archive = Archive(scenario)
        self.ledger = SimulatedLedger()
        self.statistics = Statistics(scenario)
        self.random = np.random.default_rng(scenario.seed)
        self.objects = ObjectStore(self.archive)
        self._make_scheduler = make_scheduler
        self.scheduler = make_scheduler(self.limits)
        self._num_shards = 0
        self._is_listing = False
        # Pending rows that a new coordinator has not passed to its scheduler yet.
        self._to_relist: dict[int, Rows] = {}
        self.cluster = Cluster(scenario, self.events, self.random, self.statistics, self._report)
        self.events.after(scenario.commit_s, self._commit, is_work=False)
        self.events.after(0.0, lambda: None)  # the first step

    @property
    def is_finished(self) -> bool:
        """Every image is completed, and the scheduler has no more actions."""
        return self.scheduler.is_finished

    @property
    def num_pending(self) -> int:
        """Images that the scheduler should have."""
        return self.ledger.num_pending - sum(map(len, self._to_relist.values()))

    def pending_images(self) -> Rows:
        """Images that the scheduler should have, as shard * 2**32 + row."""
        images = [
            (shard << 32) + rows
            for shard, rows in self.ledger.pending_rows()
            if shard not in self._to_relist
        ]
        return np.concatenate([np.empty(0, dtype=np.int64), *images])

    def step(self) -> None:
        """Runs the next event, and executes the actions that follow."""
        self.events.run_next()
        self._list_shards()
        started = time.thread_time()
        actions = self.scheduler.next_actions()
        self.statistics.scheduling_s += time.thread_time() - started
        self.statistics.num_steps += 1
        for action in actions:
            self._execute(action)

    def lose_object(self, block: int, is_noticed: bool) -> None:
        """Loses the data of a block; unless noticed, the next `Run` fails for lack of it."""
        self.objects.lose(block)
        if is_noticed:
            self._report(ObjectLost(block))

    def restart(self) -> None:
        """Loses everything but the committed results, and starts again from these."""
        self.objects = ObjectStore(self.archive)
        self.statistics.num_answers_lost += self.ledger.lose_uncommitted()
        self._to_relist = dict(self.ledger.pending_rows())
        self.scheduler = self._make_scheduler(self.limits)
        self.cluster.restart_all()

    def _report(self, event: Event) -> None:
        started = time.thread_time()
        self.scheduler.handle(event)
        self.statistics.scheduling_s += time.thread_time() - started

    def _list_shards(self) -> None:
        while self.scheduler.wants_shards and not self._is_listing:
            if self._to_relist:
                self._report(ShardArrived(*self._to_relist.popitem()))
            elif self._num_shards == self.archive.num_shards:
                self._report(SourceEnded())
            else:
                shard = self._num_shards
                self._num_shards += 1
                if self.scenario.listing_ms:
                    self._is_listing = True
                    self.events.after(self.scenario.listing_ms / 1000, partial(self._list, shard))
                else:
                    self._list(shard)

    def _list(self, shard: int) -> None:
        self._is_listing = False
        rows = self.ledger.add_shard(shard, self.archive.length(shard))
        self._report(ShardArrived(shard, rows))

    def _commit(self) -> None:
        self.ledger.commit()
        if self.ledger.num_committed < self.scenario.images:
            self.events.after(self.scenario.commit_s, self._commit, is_work=False)

    def _execute(self, action: Action) -> None:
        match action:
            case Decode():
                self._decode(action, self.cluster.actors[action.actor])
            case Run() | Flush():
                self._call(action, self.cluster.actors[action.actor])
            case Keep(block, call):
                self.objects.keep(block, call)
            case Release(block):
                self.objects.release(block)
            case GiveUp(shard, row, _, _):
                self.ledger.complete(np.array([(shard << 32) + row]))
                self.statistics.num_given_up += 1
            case Retire(number):
                self.cluster.remove(self.cluster.actors[number])

    def _decode(self, action: Decode, actor: SimulatedActor) -> None:
        self.cluster.begin_call(actor)
        num_images = len(action.rows)
        self.statistics.num_decoded += num_images
        self.objects.add_decoded(action.block, action.shard, action.rows, actor.node)
        seconds = self.scenario.decode_ms / 1000 * num_images * self._noise(actor)
        if self.random.random() < self.scenario.slow_storage:
            seconds *= _SLOW_STORAGE
        decoded = BlockDecoded(action.call, np.arange(num_images))
        self._after(actor, seconds, partial(self._report, decoded))

    def _call(self, action: Run | Flush, actor: SimulatedActor) -> None:
        """Computes the whole call now; its outcome is reported once its time is over."""
        self.cluster.begin_call(actor)
        if isinstance(action, Flush):
            outcome = actor.flush(self.statistics.computed)
        elif self.objects.is_lost(action.block):
            lost = ObjectLost(action.block, action.call)
            end_s = max(self.events.now_s, actor.free_at_s)
            self._at(actor, end_s, partial(self._report, lost))
            return
        else:
            self.statistics.num_run += len(action.rows)
            images = self.objects.read(action.block, action.rows)
            outcome = actor.run(images, self.statistics.computed)
        if outcome.kills:
            then = partial(self.cluster.kill, actor)
        else:
            then = partial(self._finish_call, action.call, actor, outcome)
        self._after(actor, outcome.seconds * self._noise(actor), then)

    def _noise(self, actor: SimulatedActor) -> float:
        """Factor on the duration of a call."""
        if not self.scenario.jitter:
            return actor.slowness
        return actor.slowness * float(np.exp(self.scenario.jitter * self.random.standard_normal()))

    def _after(self, actor: SimulatedActor, seconds: float, then: partial[None]) -> None:
        """Continues once an actor has worked for so long."""
        end_s = actor.book(self.events.now_s, self.scenario.call_ms / 1000, seconds)
        self._at(actor, end_s, then)

    def _at(self, actor: SimulatedActor, end_s: float, then: partial[None]) -> None:
        delay_s = end_s - self.events.now_s + self.scenario.call_ms / 1000
        self.events.after(delay_s, partial(self._end_call, actor, actor.life, then))

    def _end_call(self, actor: SimulatedActor, life: int, then: partial[None]) -> None:
        if actor.life == life:
            self.cluster.end_call(actor)
            then()

    def _finish_call(self, call: int, actor: SimulatedActor, outcome: CallOutcome) -> None:
        completed = rows_by_block(outcome.answered)
        for block, rows in completed.items():
            self.ledger.complete(self.objects.images_of(block, rows))
        forwarded = None
        if outcome.forwarded:
            pieces = self.objects.add_forwarded(call, outcome.forwarded, actor.node)
            num_images = sum(len(rows) for _, rows in pieces)
            per_image = self.limits.pools[actor.pool + 1].bytes_per_image
            forwarded = Forwarded(pieces, num_images * per_image)
            self.statistics.num_forwarded += num_images
        self._report(CallFinished(call, completed, forwarded))
