"""The scheduler without time: actions are executed in any order, and anything fails.

The simulation has time and real queues. Here hypothesis also searches orders of events that time
would rule out.
"""

import random
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scheduling import (
    DECODERS,
    ActorAdded,
    ActorDraining,
    ActorLost,
    ActorReady,
    ActorRemoved,
    BlockDecoded,
    CallFinished,
    Decode,
    Flush,
    Forwarded,
    GiveUp,
    Keep,
    Limits,
    ObjectLost,
    Pool,
    Release,
    Retire,
    Rows,
    Run,
    Scheduler,
    ShardArrived,
    SourceEnded,
)

Image = tuple[int, int]
NODES = (None, "a", "b")


def limits_of(num_pools: int, queue_bytes: int | None, budget_bytes: int) -> Limits:
    deeper = tuple(Pool(n, n, 20, queue_bytes) for n in range(2, num_pools + 1))
    return Limits(block_length=8, budget_bytes=budget_bytes, pools=(Pool(1, 1, 10), *deeper))


class World:
    """Executes actions in a random order, and records the results of every image.

    At each call, actors answer or forward some of what they hold; at a flush, all of it.
    """

    def __init__(
        self,
        seed: int,
        num_shards: int,
        fault_rate: float,
        limits: Limits,
        poison: float = 0.0,
    ) -> None:
        self.random = random.Random(seed)
        self.limits, self.fault_rate = limits, fault_rate
        self.copy_rate = self.random.choice([0.0, 0.2, 1.0])  # completed when decoded
        self.scheduler = Scheduler(limits)
        self.shards = [np.arange(self.random.randint(1, 50)) for _ in range(num_shards)]
        everything = [(s, row) for s, rows in enumerate(self.shards) for row in rows.tolist()]
        self.everything = set(everything)
        self.poison = {image for image in everything if self.random.random() < poison}
        self.results: Counter[Image] = Counter()
        self.given_up: set[Image] = set()
        self.images: dict[int, list[Image]] = {}
        self.lost: set[int] = set()
        self.forwarded_by: dict[int, list[Image]] = {}
        self.pool_of: dict[int, int] = {}
        self.held: dict[int, dict[int, set[int]]] = {}
        self.draining: set[int] = set()
        self.todo: list[Decode | Run | Flush] = []
        self.most_given = limits.block_length
        self.steps = self.num_actors = 0
        for pool in range(DECODERS, len(limits.pools)):
            for _ in range(2):
                self.add(pool)

    def add(self, pool: int) -> None:
        number = self.num_actors
        self.num_actors += 1
        self.pool_of[number], self.held[number] = pool, {}
        self.scheduler.handle(ActorAdded(number, pool))
        self.scheduler.handle(ActorReady(number, self.random.choice(NODES)))

    def run(self) -> None:
        arrived = 0
        while not self.scheduler.is_finished:
            self.steps += 1
            assert self.steps < 100_000, "no progress"
            while self.scheduler.wants_shards:
                if arrived == len(self.shards):
                    self.scheduler.handle(SourceEnded())
                else:
                    self.scheduler.handle(ShardArrived(arrived, self.shards[arrived]))
                    arrived += 1
            actions = self.scheduler.next_actions()
            for action in actions:
                self._take(action)
            self._check_bytes()
            if self.todo:
                self._step()
                self._disturb()
            elif not actions:  # a retired actor may have been replaced
                assert self.scheduler.is_finished, "deadlock: nothing to do, yet not finished"
        assert not self.images, "a block was never released"
        assert self.scheduler.bytes_in_flight == 0

    def _check_bytes(self) -> None:
        for number, limit in enumerate(self.limits.queue_bytes):
            load = self.scheduler.load(number)
            one = self.most_given * self.limits.pools[number].bytes_per_image
            assert load.queue_bytes + load.reserved_bytes <= max(limit, one)
            given = self.scheduler.load(number)
            if given.queued_images and given.num_ready > given.num_isolated:
                idle = given.num_ready - given.num_isolated - given.num_calls - len(self.draining)
                is_last = number + 1 == len(self.limits.pools)
                assert idle <= 0 or not is_last, "an idle actor and work for it"

    def _take(self, action: object) -> None:
        match action:
            case Decode(_, actor, block, shard, rows):
                assert actor not in self.draining
                self.images[block] = [(shard, row) for row in rows.tolist()]
                self.todo.append(action)
            case Run(_, actor, block, rows):
                assert actor not in self.draining
                self.todo.append(action)
                given = [a for a in self.todo if isinstance(a, Run) and a.actor == actor]
                inside = sum(len(rows) for rows in self.held[actor].values())
                self.most_given = max(self.most_given, inside + sum(len(a.rows) for a in given))
            case Flush():
                self.todo.append(action)
            case Keep(block, call):
                self.images[block] = self.forwarded_by.pop(call)
            case GiveUp(shard, row, attempts, _):
                assert attempts > self.limits.max_attempts
                self.results[shard, row] += 1
                self.given_up.add((shard, row))
            case Release(block):
                self.images.pop(block, None)  # it may never have been decoded
                self.lost.discard(block)
            case Retire(actor):
                assert actor in self.draining
                assert not self.held[actor]
                if self.random.random() < 0.8:
                    self._remove(actor)
                else:
                    self.draining.discard(actor)
                    self.scheduler.handle(ActorReady(actor, "b"))

    def _remove(self, actor: int) -> None:
        self.draining.discard(actor)
        self.held[actor] = {}
        self.todo = [a for a in self.todo if a.actor != actor]
        self.scheduler.handle(ActorRemoved(actor))
        self.add(self.pool_of[actor])

    def _disturb(self) -> None:
        if self.random.random() >= self.fault_rate:
            return
        alive = [actor for actor in self.held if actor in self.scheduler._state.actors]
        actor = self.random.choice(alive)
        known = sorted(set(self.images) - self.lost)
        match self.random.randrange(4):
            case 0:
                self._lose(actor)
            case 1 if actor not in self.draining:
                self.draining.add(actor)
                self.scheduler.handle(ActorDraining(actor))
            case 2 if known:
                block = self.random.choice(known)
                decoding = {a.block for a in self.todo if isinstance(a, Decode)}
                if block not in decoding:
                    self.lost.add(block)
                    if self.random.random() < 0.5:
                        self.scheduler.handle(ObjectLost(block))
            case 3 if self.random.random() < 0.3:
                self._remove(actor)

    def _lose(self, actor: int, preempted: bool | None = None) -> None:
        calls = [a.call for a in self.todo if a.actor == actor]
        self.todo = [a for a in self.todo if a.actor != actor]
        self.held[actor] = {}
        if preempted is None:
            preempted = self.random.random() < 0.3
        self.scheduler.handle(ActorLost(actor, preempted))
        assert not any(self.scheduler.is_in_flight(call) for call in calls)
        if actor in self.draining and self.random.random() < 0.5:
            self._remove(actor)
        else:
            self.draining.discard(actor)
            self.scheduler.handle(ActorReady(actor, self.random.choice(NODES)))

    def _step(self) -> None:
        action = self.todo.pop(self.random.randrange(len(self.todo)))
        if isinstance(action, Decode):
            images = self.images[action.block]
            if self.poison & set(images) and self.random.random() < 0.3:
                self._lose(action.actor, preempted=False)
                return
            good = [row for row in range(len(images)) if self.random.random() < 0.9]
            dead = [image for row, image in enumerate(images) if row not in set(good)]
            self.results.update(dead)
            self.images[action.block] = [images[row] for row in good]
            copies = [n for n in range(len(good)) if self.random.random() < self.copy_rate]
            self.results.update(images[good[n]] for n in copies)
            decoded, completed = (np.array(rows, dtype=np.int64) for rows in (good, copies))
            self.scheduler.handle(BlockDecoded(action.call, decoded, completed))
            return
        if isinstance(action, Run) and action.block in self.lost:
            self.scheduler.handle(ObjectLost(action.block, action.call))
            return
        held = self.held[action.actor]
        if isinstance(action, Run):
            assert len(self.images[action.block]) > action.rows.max()
            held.setdefault(action.block, set()).update(action.rows.tolist())
        inside = {self.images[p][row] for p, rows in held.items() for row in rows}
        if self.poison & inside:
            self._lose(action.actor, preempted=False)
            return
        self._finish(action, held)

    def _finish(self, action: Run | Flush, held: dict[int, set[int]]) -> None:
        is_last = self.pool_of[action.actor] + 1 == len(self.limits.pools)
        share = self.random.choice([0.0, 0.3, 0.6, 1.0])
        completed: dict[int, Rows] = {}
        pieces: list[tuple[int, Rows]] = []
        for block, rows in list(held.items()):
            some = [r for r in rows if isinstance(action, Flush) or self.random.random() < 0.6]
            done = [row for row in some if is_last or self.random.random() < share]
            onward = [row for row in some if row not in set(done)]
            rows -= set(some)
            if not rows:
                del held[block]
            if done:
                completed[block] = np.array(done)
                self.results.update(self.images[block][row] for row in done)
            if onward:
                pieces.append((block, np.array(onward)))
        if not pieces:
            self.scheduler.handle(CallFinished(action.call, completed))
            return
        joined = [self.images[block][row] for block, rs in pieces for row in rs.tolist()]
        for block, onwards in pieces:
            origins = self.scheduler.origins(block, onwards)
            expected = [self.images[block][row] for row in onwards.tolist()]
            assert list(zip(*map(np.ndarray.tolist, origins), strict=True)) == expected
        self.forwarded_by[action.call] = joined
        size = 20 * len(joined)
        forwarded = Forwarded(tuple(pieces), size)
        self.scheduler.handle(CallFinished(action.call, completed, forwarded))


RATES = st.sampled_from([0.0, 0.02, 0.2, 0.5])
SEEDS = st.integers(0, 2**32)


@given(SEEDS, st.integers(0, 12), RATES, st.integers(1, 3), st.sampled_from([0.0, 0.01]))
def test_every_image_is_completed_once_whatever_is_lost(
    seed: int, num_shards: int, fault_rate: float, num_pools: int, poison: float
) -> None:
    world = World(seed, num_shards, fault_rate, limits_of(num_pools, None, 900), poison)
    world.run()
    assert set(world.results) == world.everything
    assert set(world.results.values()) <= {1}


@given(SEEDS, RATES, st.integers(1, 3), st.integers(1, 100), st.integers(1, 100))
def test_any_budget_even_below_one_block_finishes(
    seed: int, fault_rate: float, num_pools: int, first_bytes: int, queue_bytes: int
) -> None:
    limits = limits_of(num_pools, queue_bytes, first_bytes + (num_pools - 1) * queue_bytes)
    World(seed, 6, fault_rate, limits).run()


@given(SEEDS, st.integers(1, 3))
def test_only_images_that_kill_actors_are_given_up(seed: int, num_pools: int) -> None:
    world = World(seed, 5, 0.0, limits_of(num_pools, None, 900), poison=0.03)
    world.run()
    assert world.given_up <= world.poison
    assert set(world.results) == world.everything
    assert set(world.results.values()) <= {1}
