"""The world round the scheduler: executes its actions in virtual time and reports what happened.

Everything that the coordinator, Ray and the actors do on a real cluster, without any of them.
"""

import time
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
    ObjectLost,
    Release,
    Retire,
    Rows,
    Run,
    Scheduler,
    ShardArrived,
    SourceEnded,
)
from pipeline.simulation.accounts import Accounts
from pipeline.simulation.agenda import Agenda
from pipeline.simulation.archive import Archive
from pipeline.simulation.blocks import Blocks
from pipeline.simulation.counts import SimulationCounts
from pipeline.simulation.fleet import Fleet
from pipeline.simulation.scenario import Scenario
from pipeline.simulation.workers import Done, SimulatedActor, SimulatedCascade

__all__ = ["World"]

_SLOW_STORAGE = 20.0


class World:
    """A cluster at work.

    Args:
        scenario: what is simulated.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.agenda = Agenda()
        self.archive = Archive(scenario)
        self.accounts = Accounts()
        self.counts = SimulationCounts(scenario)
        self.random = np.random.default_rng(scenario.seed)
        self.scheduler = Scheduler(scenario.limits)
        self.blocks = Blocks(self.archive)
        self._relisted: list[tuple[int, Rows]] = []
        self._num_shards = 0
        self._is_listing = False
        self.fleet = Fleet(scenario, self.agenda, self.random, self.counts, self.tell)
        self.agenda.after(scenario.commit_s, self._commit, is_work=False)

    @property
    def is_finished(self) -> bool:
        """Every image has ended, and the scheduler knows it."""
        return self.scheduler.is_finished

    @property
    def num_to_list_again(self) -> int:
        """Images that a new coordinator has yet to hand to its scheduler."""
        return sum(len(rows) for _, rows in self._relisted)

    def open_images(self) -> Rows:
        """What the scheduler should have, as shard * 2**32 + row."""
        hidden = dict(self._relisted)
        rows = [
            (shard << 32) + open_rows
            for shard, open_rows in self.accounts.open_rows()
            if shard not in hidden
        ]
        return np.concatenate([np.empty(0, dtype=np.int64), *rows])

    def step(self) -> None:
        """One event, and what the scheduler makes of it."""
        if self.agenda.now_s or self._num_shards:
            self.agenda.step()
        self._list_if_wanted()
        started = time.thread_time()
        actions = self.scheduler.next_actions()
        self.counts.scheduling_s += time.thread_time() - started
        for action in actions:
            self._execute(action)

    def tell(self, event: Event) -> None:
        """Reports an event to the scheduler."""
        started = time.thread_time()
        self.scheduler.handle(event)
        self.counts.scheduling_s += time.thread_time() - started

    def lose_object(self, block: int, is_noticed: bool) -> None:
        """A block's data is gone."""
        self.blocks.lose(block)
        if is_noticed:
            self.tell(ObjectLost(block))

    def restart_coordinator(self) -> None:
        """All that was not committed is forgotten; a new scheduler starts from what was."""
        self.blocks = Blocks(self.archive)
        open_before = self.accounts.num_open
        self._relisted = list(self.accounts.lose_uncommitted().items())
        self.counts.num_answers_lost += self.accounts.num_open - open_before
        self.replace_scheduler(Scheduler(self.scenario.limits))

    def replace_scheduler(self, scheduler: Scheduler) -> None:
        """A new scheduler meets the actors; they come up for it, empty."""
        self.scheduler = scheduler
        self.fleet.restart()

    def _list_if_wanted(self) -> None:
        while self.scheduler.wants_shards and not self._is_listing:
            if self._relisted:
                self.tell(ShardArrived(*self._relisted.pop()))
            elif self._num_shards == self.archive.num_shards:
                self.tell(SourceEnded())
            else:
                shard = self._num_shards
                self._num_shards += 1
                if self.scenario.listing_ms:
                    self._is_listing = True
                    self.agenda.after(self.scenario.listing_ms / 1000, partial(self._list, shard))
                else:
                    self._list(shard)

    def _list(self, shard: int) -> None:
        self._is_listing = False
        rows = self.accounts.list_shard(shard, self.archive.length(shard))
        self.tell(ShardArrived(shard, rows))

    def _commit(self) -> None:
        self.accounts.commit()
        if self.accounts.num_committed < self.scenario.images:
            self.agenda.after(self.scenario.commit_s, self._commit, is_work=False)

    def _execute(self, action: Action) -> None:
        match action:
            case Decode() | Run() | Flush():
                actor = self.fleet.actors[action.actor]
                self.fleet.take(actor)
                if isinstance(action, Decode):
                    self._decode(action, actor)
                else:
                    assert isinstance(actor, SimulatedCascade)
                    self._call(action, actor)
            case Keep(block, call):
                self.blocks.keep(block, call)
            case Release(block):
                self.blocks.release(block)
            case GiveUp(shard, row, _, _):
                self.accounts.end(shard, np.array([row]))
                self.counts.num_given_up += 1
            case Retire(number):
                self.fleet.remove(self.fleet.actors[number])

    def _decode(self, action: Decode, actor: SimulatedActor) -> None:
        self.counts.num_decoded += len(action.rows)
        self.blocks.decode(action.block, action.shard, action.rows, actor.node)
        seconds = self.scenario.decode_ms / 1000 * len(action.rows) * self._noise(actor)
        if self.random.random() < self.scenario.slow_storage:
            seconds *= _SLOW_STORAGE
        end_s = actor.book(self.agenda.now_s, self.scenario.call_ms / 1000, seconds)
        self._report(actor, end_s, partial(self._decoded, action.call, len(action.rows)))

    def _decoded(self, call: int, num_images: int) -> None:
        self.tell(BlockDecoded(call, np.arange(num_images)))

    def _call(self, action: Run | Flush, actor: SimulatedCascade) -> None:
        """The whole call is computed now; its results are told when its time is over."""
        if isinstance(action, Flush):
            done = actor.flush(self.scenario, self.counts.computed)
        elif self.blocks.is_lost(action.block):
            lost = partial(self.tell, ObjectLost(action.block, action.call))
            self._report(actor, max(self.agenda.now_s, actor.free_at_s), lost)
            return
        else:
            self.counts.num_given[actor.pool] += len(action.rows)
            images = self.blocks.images(action.block, action.rows)
            done = actor.run(images, self.scenario, self.counts.computed)
        seconds = done.seconds * self._noise(actor)
        end_s = actor.book(self.agenda.now_s, self.scenario.call_ms / 1000, seconds)
        if done.kills:
            self._report(actor, end_s, partial(self.fleet.kill, actor, preempted=False))
        else:
            self._report(actor, end_s, partial(self._answered, action.call, actor, done))

    def _noise(self, actor: SimulatedActor) -> float:
        if not self.scenario.jitter:
            return actor.slowness
        return actor.slowness * float(np.exp(self.scenario.jitter * self.random.standard_normal()))

    def _report(self, actor: SimulatedActor, end_s: float, tell: partial[None]) -> None:
        delay_s = end_s - self.agenda.now_s + self.scenario.call_ms / 1000
        self.agenda.after(delay_s, partial(self._reported, actor, actor.life, tell))

    def _reported(self, actor: SimulatedActor, life: int, tell: partial[None]) -> None:
        if actor.life != life:
            return
        self.fleet.free(actor)
        tell()

    def _answered(self, call: int, actor: SimulatedCascade, done: Done) -> None:
        answered = self.blocks.by_block(done.answered)
        for block, rows in answered.items():
            for shard, shard_rows in self.blocks.origins(block, rows):
                self.accounts.end(shard, shard_rows)
            self.counts.num_answered += len(rows)
        forwarded = None
        if done.forwarded:
            pieces = self.blocks.bundle(call, done.forwarded, actor.node)
            num_images = sum(len(rows) for _, rows in pieces)
            per_image = self.scenario.limits.pools[actor.pool + 1].bytes_per_image
            forwarded = Forwarded(pieces, num_images * per_image)
            self.counts.num_forwarded[actor.pool + 1] += num_images
        self.tell(CallFinished(call, answered, forwarded))
