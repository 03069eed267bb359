"""The scheduler's decisions, one by one: which actor gets what, how much, and when."""

from typing import TypeVar

import numpy as np
import pytest

from pipeline.scheduling import (
    DECODERS,
    Action,
    ActorAdded,
    ActorDraining,
    ActorReady,
    ActorRemoved,
    BlockDecoded,
    CallFinished,
    Decode,
    Flush,
    Forwarded,
    Keep,
    Limits,
    Pool,
    Release,
    Retire,
    Run,
    Scheduler,
    ShardArrived,
    SourceEnded,
)

ONE_POOL = Limits(block_length=8, budget_bytes=400, pools=(Pool(1, 3, 10),))
TWO_POOLS = Limits(block_length=8, budget_bytes=1000, pools=(Pool(1, 2, 10), Pool(3, 3, 20, 400)))
DECODER, FIRST, DEEP = 0, 1, 10


def started(limits: Limits = ONE_POOL, nodes: tuple[str | None, ...] = (None,)) -> Scheduler:
    """One decoder (0), first-pool actors from 1 on, deeper pools' actors 10, 20, …"""
    scheduler = Scheduler(limits)
    pool_of = {DECODER: DECODERS}
    pool_of |= {FIRST + number: 0 for number in range(len(nodes))}
    pool_of |= {DEEP * pool: pool for pool in range(1, len(limits.pools))}
    for actor, pool in pool_of.items():
        scheduler.handle(ActorAdded(actor, pool))
        node = nodes[actor - FIRST] if pool == 0 else "z"
        scheduler.handle(ActorReady(actor, node))
    return scheduler


A = TypeVar("A", bound=Action)


def only(actions: list[Action], kind: type[A]) -> A:
    (action,) = actions
    assert isinstance(action, kind)
    return action


def runs(actions: list[Action]) -> list[Run]:
    return [action for action in actions if isinstance(action, Run)]


def decode_all(scheduler: Scheduler) -> list[Action]:
    """Decodes until nothing waits for it; returns all other actions."""
    others: list[Action] = []
    while actions := scheduler.next_actions():
        for action in actions:
            if isinstance(action, Decode):
                scheduler.handle(BlockDecoded(action.call, np.arange(len(action.rows))))
            else:
                others.append(action)
    return others


def running(scheduler: Scheduler, num_images: int = 8) -> Run:
    """Lets one shard arrive and be decoded; returns its `Run`."""
    scheduler.handle(ShardArrived(0, np.arange(num_images)))
    decode = scheduler.next_actions()[0]
    assert isinstance(decode, Decode)
    scheduler.handle(BlockDecoded(decode.call, np.arange(len(decode.rows))))
    return runs(scheduler.next_actions())[0]


def test_at_most_two_calls_are_in_flight_per_actor() -> None:
    scheduler = started()
    scheduler.handle(ShardArrived(0, np.arange(40)))
    assert [type(a) for a in scheduler.next_actions()] == [Decode, Decode]
    assert scheduler.next_actions() == []


def test_calls_in_flight_can_be_set() -> None:
    scheduler = started(Limits(8, 400, (Pool(1, 3, 10),), calls_in_flight=3))
    scheduler.handle(ShardArrived(0, np.arange(40)))
    assert [type(a) for a in scheduler.next_actions()] == [Decode] * 3


def test_the_source_stops_when_the_first_queue_is_full() -> None:
    scheduler = started(Limits(8, 160, (Pool(1, 3, 10),)))
    scheduler.handle(ShardArrived(0, np.arange(80)))
    assert len(runs(decode_all(scheduler))) == 2
    assert scheduler.bytes_in_flight == 160


def test_images_that_cannot_be_decoded_leave_their_block() -> None:
    scheduler = started()
    scheduler.handle(ShardArrived(7, np.arange(20, 28)))
    decode = only(scheduler.next_actions(), Decode)
    scheduler.handle(BlockDecoded(decode.call, np.array([1, 4])))
    run = only(scheduler.next_actions(), Run)
    assert run.rows.tolist() == [0, 1]
    origins = scheduler.origins(run.block, run.rows)
    assert origins.shards.tolist() == [7, 7]
    assert origins.rows.tolist() == [21, 24]
    assert scheduler.bytes_in_flight == 20


def test_copies_are_completed_once_they_are_decoded() -> None:
    scheduler = started()
    scheduler.handle(ShardArrived(7, np.arange(8)))
    scheduler.handle(ShardArrived(8, np.arange(8)))
    first, second = scheduler.next_actions()
    assert isinstance(first, Decode)
    assert isinstance(second, Decode)
    scheduler.handle(BlockDecoded(first.call, np.array([1, 4, 5]), np.array([0, 2])))
    scheduler.handle(BlockDecoded(second.call, np.array([3, 6]), np.array([0, 1])))
    release, run = scheduler.next_actions()
    assert isinstance(release, Release)
    assert isinstance(run, Run)
    assert run.rows.tolist() == [1]
    assert scheduler.origins(run.block, run.rows).rows.tolist() == [4]
    assert scheduler.bytes_in_flight == 30, "all decoded images are kept"


def test_a_partial_batch_runs_only_when_nothing_upstream_can_fill_it() -> None:
    scheduler = started()
    scheduler.handle(ShardArrived(0, np.arange(16)))
    first, second = scheduler.next_actions()
    assert isinstance(first, Decode)
    assert isinstance(second, Decode)
    scheduler.handle(SourceEnded())
    scheduler.handle(BlockDecoded(first.call, np.arange(8)))
    run = only(scheduler.next_actions(), Run)
    scheduler.handle(CallFinished(run.call, {run.block: np.arange(5)}))
    assert scheduler.next_actions() == [], "the second block is still being decoded"
    scheduler.handle(BlockDecoded(second.call, np.arange(0)))
    assert [type(action) for action in scheduler.next_actions()] == [Release, Flush]


def test_partial_batches_that_fill_the_budget_are_flushed() -> None:
    scheduler = started(Limits(8, 80, (Pool(1, 3, 10),)))
    run = running(scheduler, num_images=16)
    scheduler.handle(CallFinished(run.call, {run.block: np.arange(7)}))
    only(scheduler.next_actions(), Flush)


def test_forwarded_images_become_a_block_of_the_next_pool_with_their_origins() -> None:
    scheduler = started(TWO_POOLS)
    scheduler.handle(ShardArrived(3, np.arange(100, 116)))
    first, second = runs(decode_all(scheduler))
    scheduler.handle(CallFinished(first.call, {first.block: np.arange(6)}))
    pieces = ((first.block, np.array([6, 7])), (second.block, np.array([1])))
    answered = {second.block: np.array([0, *range(2, 8)])}
    scheduler.handle(CallFinished(second.call, answered, Forwarded(pieces, 60)))
    actions = scheduler.next_actions()
    (keep,) = [action for action in actions if isinstance(action, Keep)]
    assert keep.call == second.call
    released = {action.block for action in actions if isinstance(action, Release)}
    assert released == {first.block, second.block}
    (run,) = runs(actions)
    assert (run.block, run.actor, run.rows.tolist()) == (keep.block, DEEP, [0, 1, 2])
    assert scheduler.origins(keep.block, run.rows).rows.tolist() == [106, 107, 109]
    assert scheduler.bytes_in_flight == scheduler.load(1).queue_bytes == 60


def test_a_pool_gets_no_work_that_the_next_queue_may_have_no_room_for() -> None:
    # 8 images may become 160 bytes for the next pool; its 400 have room for two such calls.
    scheduler = started(TWO_POOLS, nodes=(None, None))
    scheduler.handle(ShardArrived(0, np.arange(40)))
    given = runs(decode_all(scheduler))
    assert len(given) == 2
    assert scheduler.load(1).reserved_bytes == 320
    assert scheduler.load(0).queued_images == 24
    scheduler.handle(CallFinished(given[0].call, {given[0].block: np.arange(8)}))
    assert len(runs(scheduler.next_actions())) == 1, "answers make room, too"


def test_a_second_call_needs_room_besides_that_of_the_first() -> None:
    """A regression: bytes reserved for an actor did not count against its next call."""
    scheduler = started(Limits(8, 1000, (Pool(1, 1, 10), Pool(2, 3, 20, 160))))
    scheduler.handle(ShardArrived(0, np.arange(24)))
    (run,) = runs(decode_all(scheduler))
    assert scheduler.load(1).reserved_bytes == 160
    scheduler.handle(CallFinished(run.call, {run.block: np.arange(8)}))
    assert len(runs(scheduler.next_actions())) == 1


def test_partial_batches_that_fill_a_queue_are_flushed() -> None:
    limits = Limits(8, 1000, (Pool(1, 1, 10), Pool(2, 3, 20, 160)))
    scheduler = started(limits)
    scheduler.handle(ShardArrived(0, np.arange(16)))
    (run,) = runs(decode_all(scheduler))
    forwarded = Forwarded(((run.block, np.arange(8)),), 160)
    scheduler.handle(CallFinished(run.call, {}, forwarded))
    (deep,) = runs(scheduler.next_actions())
    scheduler.handle(CallFinished(deep.call, {deep.block: np.arange(3)}))
    flush = only(scheduler.next_actions(), Flush)
    assert flush.actor == DEEP


def test_a_pool_is_flushed_only_after_the_pool_before_it() -> None:
    scheduler = started(TWO_POOLS)
    run = running(scheduler)
    scheduler.handle(SourceEnded())
    scheduler.handle(CallFinished(run.call, {}, Forwarded(((run.block, np.arange(4)),), 80)))
    actions = scheduler.next_actions()
    (flush,) = [action for action in actions if isinstance(action, Flush)]
    assert flush.actor == FIRST
    (deep,) = runs(actions)
    scheduler.handle(CallFinished(deep.call, {deep.block: np.arange(1)}))
    assert scheduler.next_actions() == [], "the first pool may yet forward more"
    scheduler.handle(CallFinished(flush.call, {run.block: np.arange(4, 8)}))
    actions = scheduler.next_actions()
    assert [type(action) for action in actions] == [Release, Flush]


def test_an_actor_on_the_node_that_holds_the_data_is_preferred() -> None:
    scheduler = started(nodes=("a", "z", "b"))
    assert running(scheduler).actor == FIRST + 1, "the decoder is on node z"


def test_an_idle_actor_on_another_node_is_preferred_to_a_busy_one() -> None:
    scheduler = started(nodes=("a", "z"))
    scheduler.handle(ShardArrived(0, np.arange(24)))
    actors = [run.actor for run in runs(decode_all(scheduler))]
    assert actors == [FIRST + 1, FIRST, FIRST + 1]


def test_a_draining_actor_gets_no_work_is_flushed_and_retires_once() -> None:
    scheduler = started(nodes=("z", "a"))
    run = running(scheduler)
    assert run.actor == FIRST
    scheduler.handle(ActorDraining(FIRST))
    scheduler.handle(ShardArrived(1, np.arange(8)))
    (other,) = runs(decode_all(scheduler))
    assert other.actor == FIRST + 1
    scheduler.handle(CallFinished(run.call, {run.block: np.arange(5)}))
    flush = only(scheduler.next_actions(), Flush)
    assert flush.actor == FIRST
    scheduler.handle(CallFinished(flush.call, {run.block: np.arange(5, 8)}))
    released, retired = scheduler.next_actions()
    assert isinstance(released, Release)
    assert retired == Retire(FIRST)
    assert scheduler.next_actions() == []
    scheduler.handle(ActorRemoved(FIRST))
    assert scheduler.load(0).num_actors == 1


def test_a_drain_can_be_called_off() -> None:
    scheduler = started()
    scheduler.handle(ActorDraining(FIRST))
    assert scheduler.next_actions() == [Retire(FIRST)]
    scheduler.handle(ActorReady(FIRST, "z"))
    assert running(scheduler).actor == FIRST


def test_an_actor_that_is_added_late_gets_waiting_work() -> None:
    scheduler = started()
    scheduler.handle(ShardArrived(0, np.arange(24)))
    assert len(runs(decode_all(scheduler))) == 2
    scheduler.handle(ActorAdded(99, 0))
    assert scheduler.next_actions() == []
    scheduler.handle(ActorReady(99, None))
    assert only(scheduler.next_actions(), Run).actor == 99


def test_completing_an_image_twice_is_detected() -> None:
    scheduler = started()
    run = running(scheduler)
    with pytest.raises(AssertionError, match="twice"):
        scheduler.handle(CallFinished(run.call, {run.block: np.array([99])}))
    scheduler = started()
    run = running(scheduler)
    with pytest.raises(AssertionError, match="twice"):
        scheduler.handle(CallFinished(run.call, {run.block: np.array([1, 1])}))


@pytest.mark.parametrize(
    ("pools", "budget_bytes", "message"),
    [
        ((), 10, "at least one"),
        ((Pool(1, 1, 1), Pool(3, 3, 1)), 10, "stage 2 must come next"),
        ((Pool(1, 2, 1), Pool(2, 3, 1)), 10, "stage 3 must come next"),
        ((Pool(1, 1, 1), Pool(2, 2, 1, 11)), 10, r"at most budget_bytes=10 \(got 11\)"),
    ],
)
def test_inconsistent_limits_are_refused(
    pools: tuple[Pool, ...], budget_bytes: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(8, budget_bytes, pools)
