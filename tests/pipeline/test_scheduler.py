"""The scheduler alone, driven by a small world that decodes, answers and fails at random."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.events import (
    ActorLost,
    ActorReady,
    CallFinished,
    Decode,
    DecoderLost,
    DecoderReady,
    Flush,
    GiveUp,
    Limits,
    ParcelDecoded,
    Release,
    Run,
    ShardArrived,
    SourceEnded,
)
from pipeline.scheduler import Scheduler

LIMITS = Limits(parcel_length=8, bytes_per_image=10, budget_bytes=400)


class World:
    """Executes actions in a random order and remembers what became of every image.

    Actors answer some of what they hold at every call, and all of it at a flush.
    """

    def __init__(self, seed: int, num_shards: int, loss_rate: float, limits: Limits) -> None:
        self.random = random.Random(seed)
        self.limits, self.loss_rate = limits, loss_rate
        self.scheduler = Scheduler(limits, num_decoders=2, num_actors=2)
        self.shards = [np.arange(self.random.randint(1, 50)) for _ in range(num_shards)]
        self.results: Counter[tuple[int, int]] = Counter()
        self.images: dict[int, list[tuple[int, int]]] = {}
        self.held: dict[int, dict[int, set[int]]] = {0: {}, 1: {}}
        self.todo: list[Decode | Run | Flush] = []
        self.steps = 0
        for number in range(2):
            self.scheduler.handle(DecoderReady(number))
            self.scheduler.handle(ActorReady(number))

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
            for action in self.scheduler.next_actions():
                self._take(action)
            assert self.scheduler.bytes_in_flight <= max(
                self.limits.budget_bytes, self.limits.parcel_length * self.limits.bytes_per_image
            )
            if self.todo:
                self._step()
            else:
                assert self.scheduler.is_finished, "deadlock: nothing to do, yet not finished"

    def _take(self, action: object) -> None:
        match action:
            case Decode(parcel, shard, rows, _):
                self.images[parcel] = [(shard, row) for row in rows.tolist()]
                self.todo.append(action)
            case Run() | Flush():
                self.todo.append(action)
            case GiveUp(parcel, rows, _):
                self.results.update(self.images[parcel][row] for row in rows.tolist())
            case Release():
                pass

    def _step(self) -> None:
        action = self.todo.pop(self.random.randrange(len(self.todo)))
        lost = self.random.random() < self.loss_rate
        if isinstance(action, Decode):
            if lost:
                self._lose_decoder(action)
            else:
                self._decode(action)
            return
        actor = action.actor
        if lost:
            self.todo = [a for a in self.todo if isinstance(a, Decode) or a.actor != actor]
            self.held[actor] = {}
            self.scheduler.handle(ActorLost(actor))
            assert not self.scheduler.is_open(action.call)
            self.scheduler.handle(ActorReady(actor))
            return
        if isinstance(action, Run):
            self.held[actor].setdefault(action.parcel, set()).update(action.rows.tolist())
        finished = {}
        for parcel, rows in list(self.held[actor].items()):
            some = [r for r in rows if isinstance(action, Flush) or self.random.random() < 0.6]
            self.results.update(self.images[parcel][row] for row in some)
            rows -= set(some)
            if not rows:
                del self.held[actor][parcel]
            if some:
                finished[parcel] = np.array(some)
        self.scheduler.handle(CallFinished(action.call, finished))

    def _decode(self, action: Decode) -> None:
        images = self.images[action.parcel]
        good = [image for image in images if self.random.random() < 0.9]
        self.results.update(image for image in images if image not in good)  # dead letters
        self.images[action.parcel] = good
        self.scheduler.handle(ParcelDecoded(action.parcel, len(good)))

    def _lose_decoder(self, action: Decode) -> None:
        decoder = action.decoder
        self.todo = [a for a in self.todo if not isinstance(a, Decode) or a.decoder != decoder]
        self.scheduler.handle(DecoderLost(decoder))
        self.scheduler.handle(DecoderReady(decoder))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 12), st.sampled_from([0.0, 0.02, 0.2, 0.5]))
def test_every_image_ends_exactly_once_whatever_is_lost(
    seed: int, num_shards: int, loss_rate: float
) -> None:
    world = World(seed, num_shards, loss_rate, LIMITS)
    world.run()
    everything = {(shard, row) for shard, rows in enumerate(world.shards) for row in rows.tolist()}
    assert set(world.results) == everything
    assert set(world.results.values()) <= {1}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 100))
def test_any_budget_even_one_smaller_than_a_parcel_comes_to_an_end(seed: int, budget: int) -> None:
    World(seed, 6, 0.05, Limits(8, 10, budget_bytes=budget)).run()


def started(num_actors: int = 1, limits: Limits = LIMITS) -> Scheduler:
    scheduler = Scheduler(limits, num_decoders=1, num_actors=num_actors)
    scheduler.handle(DecoderReady(0))
    for actor in range(num_actors):
        scheduler.handle(ActorReady(actor))
    return scheduler


def running(scheduler: Scheduler, num_images: int = 8) -> Run:
    """Lets one shard arrive and be decoded, and returns the call that gives it to an actor."""
    scheduler.handle(ShardArrived(0, np.arange(num_images)))
    decode = scheduler.next_actions()[0]
    assert isinstance(decode, Decode)
    scheduler.handle(ParcelDecoded(decode.parcel, len(decode.rows)))
    (run,) = scheduler.next_actions()
    assert isinstance(run, Run)
    return run


def test_at_most_two_calls_are_in_flight_per_worker() -> None:
    scheduler = started()
    scheduler.handle(ShardArrived(0, np.arange(40)))
    assert [type(a) for a in scheduler.next_actions()] == [Decode, Decode]
    assert scheduler.next_actions() == []


def test_a_partial_batch_runs_only_when_nothing_upstream_can_fill_it() -> None:
    scheduler = started()
    scheduler.handle(ShardArrived(0, np.arange(16)))
    first, second = scheduler.next_actions()
    assert isinstance(first, Decode)
    assert isinstance(second, Decode)
    scheduler.handle(SourceEnded())
    scheduler.handle(ParcelDecoded(first.parcel, 8))
    (run,) = scheduler.next_actions()
    assert isinstance(run, Run)
    scheduler.handle(CallFinished(run.call, {run.parcel: np.arange(5)}))
    assert scheduler.next_actions() == [], "the second parcel is still being decoded"
    scheduler.handle(ParcelDecoded(second.parcel, 0))
    actions = scheduler.next_actions()
    assert [type(action) for action in actions] == [Release, Flush]


def test_a_full_budget_of_waiting_images_is_flushed_instead_of_stalling() -> None:
    scheduler = started(limits=Limits(8, 10, budget_bytes=80))
    run = running(scheduler, num_images=16)
    scheduler.handle(CallFinished(run.call, {run.parcel: np.arange(7)}))
    (flush,) = scheduler.next_actions()
    assert isinstance(flush, Flush)


def test_an_answer_from_before_a_loss_no_longer_counts_and_its_rows_run_again() -> None:
    scheduler = started()
    run = running(scheduler)
    scheduler.handle(ActorLost(0))
    assert not scheduler.is_open(run.call)
    scheduler.handle(ActorReady(0))
    (again,) = scheduler.next_actions()
    assert isinstance(again, Run)
    assert again.rows.tolist() == run.rows.tolist()


def test_an_image_that_kills_every_decoder_is_found_by_halving_and_given_up_alone() -> None:
    scheduler = started()
    scheduler.handle(ShardArrived(0, np.arange(8)))
    scheduler.handle(SourceEnded())
    given_up: list[int] = []
    rows_of: dict[int, list[int]] = {}
    for _ in range(200):
        pending: list[Decode] = []
        for action in scheduler.next_actions():
            if isinstance(action, Decode):
                rows_of[action.parcel] = action.rows.tolist()
                pending.append(action)
            elif isinstance(action, Run):
                scheduler.handle(CallFinished(action.call, {action.parcel: action.rows}))
            elif isinstance(action, GiveUp):
                given_up += [rows_of[action.parcel][row] for row in action.rows.tolist()]
        for action in pending:
            if 5 in action.rows:
                scheduler.handle(DecoderLost(0))
                scheduler.handle(DecoderReady(0))
                break
            scheduler.handle(ParcelDecoded(action.parcel, len(action.rows)))
    assert scheduler.is_finished
    assert 5 in given_up
    assert len(given_up) <= 2, "at most its neighbour in flight may fall with it"


def test_an_image_answered_twice_is_a_bug_that_is_noticed() -> None:
    scheduler = started()
    run = running(scheduler)
    with pytest.raises(AssertionError, match="twice"):
        scheduler.handle(CallFinished(run.call, {run.parcel: np.array([99])}))
