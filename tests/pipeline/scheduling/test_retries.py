"""Losses, one by one: actors that die, drain or are preempted, objects and answers that are lost.

Batches that raise, device memory and storage errors are handled inside actors
(`tests/pipeline/cascade`, `tests/pipeline/decoding`); the simulation restarts the coordinator.
"""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline.scheduling import (
    DECODERS,
    Action,
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
    Run,
    Scheduler,
    ShardArrived,
    SourceEnded,
)

LIMITS = Limits(block_length=8, budget_bytes=2000, pools=(Pool(1, 1, 10), Pool(2, 2, 20)))
DECODER, FIRST, DEEP = 0, 1, 2


def started() -> Scheduler:
    scheduler = Scheduler(LIMITS)
    for actor, pool in ((DECODER, DECODERS), (FIRST, 0), (DEEP, 1)):
        scheduler.handle(ActorAdded(actor, pool))
        scheduler.handle(ActorReady(actor))
    return scheduler


def running(scheduler: Scheduler) -> Run:
    scheduler.handle(ShardArrived(5, np.arange(10, 18)))
    (decode,) = scheduler.next_actions()
    assert isinstance(decode, Decode)
    scheduler.handle(BlockDecoded(decode.call, np.arange(8)))
    (run,) = scheduler.next_actions()
    assert isinstance(run, Run)
    return run


def running_deep(scheduler: Scheduler) -> Run:
    run = running(scheduler)
    pieces = ((run.block, np.array([2, 3])),)
    answered = {run.block: np.array([0, 1, 4, 5, 6, 7])}
    scheduler.handle(CallFinished(run.call, answered, Forwarded(pieces, 40)))
    return next(a for a in scheduler.next_actions() if isinstance(a, Run))


def lose(scheduler: Scheduler, actor: int, preempted: bool = False) -> list[Action]:
    scheduler.handle(ActorLost(actor, preempted))
    scheduler.handle(ActorReady(actor))
    return scheduler.next_actions()


def test_pending_images_of_a_dead_actor_run_again_and_its_calls_do_not_count() -> None:
    scheduler = started()
    run = running(scheduler)
    (again,) = lose(scheduler, FIRST)
    assert isinstance(again, Run)
    assert not scheduler.is_in_flight(run.call)
    assert (again.block, again.rows.tolist()) == (run.block, run.rows.tolist())


def test_only_pending_images_of_a_dead_actor_run_again() -> None:
    scheduler = started()
    run = running(scheduler)
    scheduler.handle(CallFinished(run.call, {run.block: np.array([0, 2, 4])}))
    (again,) = lose(scheduler, FIRST)
    assert isinstance(again, Run)
    assert again.rows.tolist() == [1, 3, 5, 6, 7]


def test_lost_work_comes_before_new_work() -> None:
    scheduler = started()
    run = running(scheduler)
    scheduler.handle(ShardArrived(6, np.arange(16)))
    for action in scheduler.next_actions():
        assert isinstance(action, Decode)
        scheduler.handle(BlockDecoded(action.call, np.arange(8)))
    actions = lose(scheduler, FIRST)
    first = next(action for action in actions if isinstance(action, Run))
    assert first.block == run.block


def test_a_preemption_never_counts_as_an_attempt() -> None:
    scheduler = started()
    running(scheduler)
    for _ in range(20):
        (again,) = lose(scheduler, FIRST, preempted=True)
        assert isinstance(again, Run)
        assert len(again.rows) == 8


def test_a_removal_never_counts_as_an_attempt() -> None:
    scheduler = started()
    running(scheduler)
    for _ in range(20):
        scheduler.handle(ActorRemoved(FIRST))
        scheduler.handle(ActorAdded(FIRST, 0))
        scheduler.handle(ActorReady(FIRST))
        (again,) = scheduler.next_actions()
        assert isinstance(again, Run)


def test_images_of_a_lost_object_start_again_from_their_source() -> None:
    scheduler = started()
    run = running(scheduler)
    scheduler.handle(ObjectLost(run.block, run.call))
    release, decode = sorted(scheduler.next_actions(), key=lambda a: isinstance(a, Decode))
    assert release == Release(run.block)
    assert isinstance(decode, Decode)
    assert (decode.shard, decode.rows.tolist()) == (5, list(range(10, 18)))


def test_images_of_a_lost_forwarded_object_start_again_and_no_others() -> None:
    scheduler = started()
    deep = running_deep(scheduler)
    scheduler.handle(ObjectLost(deep.block, deep.call))
    (decode,) = [a for a in scheduler.next_actions() if isinstance(a, Decode)]
    assert (decode.shard, decode.rows.tolist()) == (5, [12, 13])


def test_a_lost_object_matters_only_when_the_actor_that_read_it_dies() -> None:
    scheduler = started()
    run = running(scheduler)
    scheduler.handle(ShardArrived(6, np.arange(8)))  # so that nothing is flushed
    scheduler.handle(CallFinished(run.call, {run.block: np.arange(3)}))
    scheduler.next_actions()
    scheduler.handle(ObjectLost(run.block))
    assert scheduler.next_actions() == []
    decodes = [action for action in lose(scheduler, FIRST) if isinstance(action, Decode)]
    assert [(d.shard, d.rows.tolist()) for d in decodes] == [(5, [13, 14, 15, 16, 17])]


def test_the_loss_of_a_released_object_is_ignored() -> None:
    scheduler = started()
    run = running(scheduler)
    scheduler.handle(CallFinished(run.call, {run.block: np.arange(8)}))
    scheduler.handle(ObjectLost(run.block))
    assert scheduler.next_actions() == [Release(run.block)]


def test_images_whose_answers_were_lost_can_arrive_again_after_the_end() -> None:
    scheduler = started()
    run = running(scheduler)
    scheduler.handle(SourceEnded())
    scheduler.handle(CallFinished(run.call, {run.block: np.arange(8)}))
    scheduler.next_actions()
    assert scheduler.is_finished
    scheduler.handle(ShardArrived(5, np.array([11, 12])))
    (decode,) = scheduler.next_actions()
    assert isinstance(decode, Decode)
    assert decode.rows.tolist() == [11, 12]


def test_a_draining_actor_hands_over_what_it_holds() -> None:
    scheduler = started()
    run = running(scheduler)
    scheduler.handle(ActorDraining(FIRST))
    scheduler.handle(CallFinished(run.call, {run.block: np.arange(3)}))
    (flush,) = scheduler.next_actions()
    assert isinstance(flush, Flush)
    scheduler.handle(CallFinished(flush.call, {}, Forwarded(((run.block, np.arange(3, 8)),), 100)))
    assert {type(a) for a in scheduler.next_actions()} >= {Keep, Run, Release}


def search(kills: Callable[[list[int]], bool], where: int) -> tuple[list[GiveUp], set[int]]:
    """Kills actors of the pool `where` if `kills` is true for what they hold.

    Returns:
        What was given up, and the rows that were answered.
    """
    scheduler = started()
    scheduler.handle(ShardArrived(0, np.arange(24)))
    scheduler.handle(SourceEnded())
    given_up: list[GiveUp] = []
    answered: set[int] = set()
    pool_of = {DECODER: DECODERS, FIRST: 0, DEEP: 1}
    inside: dict[int, dict[int, list[int]]] = {FIRST: {}, DEEP: {}}
    forwarded_by: dict[int, list[int]] = {}
    images: dict[int, list[int]] = {}
    todo: list[Action] = []
    for _ in range(1000):
        todo += scheduler.next_actions()
        if not todo:
            break
        action = todo.pop(0)
        if isinstance(action, GiveUp):
            given_up.append(action)
        elif isinstance(action, Keep):
            images[action.block] = forwarded_by[action.call]
        if not isinstance(action, Decode | Run | Flush):
            continue
        actor, rows = action.actor, []
        if isinstance(action, Decode):
            rows = images[action.block] = action.rows.tolist()
        elif isinstance(action, Run):
            inside[actor][action.block] = action.rows.tolist()
        if isinstance(action, Run | Flush):
            rows = [images[p][r] for p, held in inside[actor].items() for r in held]
        if pool_of[actor] == where and kills(rows):
            kept = [a for a in todo if not isinstance(a, Decode | Run | Flush)]
            todo = kept + [
                a for a in todo if isinstance(a, Decode | Run | Flush) and a.actor != actor
            ]
            inside[actor] = {}
            scheduler.handle(ActorLost(actor))
            scheduler.handle(ActorReady(actor))
        elif isinstance(action, Decode):
            scheduler.handle(BlockDecoded(action.call, np.arange(len(rows))))
        elif isinstance(action, Run):
            scheduler.handle(CallFinished(action.call, {}))
        elif actor == FIRST:
            pieces = tuple((p, np.array(held)) for p, held in inside[actor].items())
            forwarded_by[action.call] = rows
            inside[actor] = {}
            scheduler.handle(CallFinished(action.call, {}, Forwarded(pieces, len(rows) * 20)))
        else:
            answered |= set(rows)
            completed = {p: np.array(held) for p, held in inside[actor].items()}
            inside[actor] = {}
            scheduler.handle(CallFinished(action.call, completed))
    assert scheduler.is_finished
    return given_up, answered


@pytest.mark.parametrize("where", [DECODERS, 0, 1])
def test_an_image_that_kills_its_actors_is_found_and_all_others_are_answered(
    where: int,
) -> None:
    given_up, answered = search(lambda rows: 13 in rows, where)
    assert [(image.shard, image.row, image.pool) for image in given_up] == [(0, 13, where)]
    assert answered == set(range(24)) - {13}
    # Three losses until it is quarantined, then at most 24 images halved down to one.
    assert LIMITS.max_attempts < given_up[0].attempts <= LIMITS.max_attempts + 6


@pytest.mark.parametrize("where", [DECODERS, 0, 1])
def test_several_images_that_kill_their_actors_are_all_found(where: int) -> None:
    bad = {0, 3, 11, 23}
    given_up, answered = search(lambda rows: bool(bad & set(rows)), where)
    assert {image.row for image in given_up} == bad
    assert answered == set(range(24)) - bad


def test_actors_that_die_for_other_reasons_cost_no_image() -> None:
    """Every third call fails, whatever it holds."""
    calls = iter(range(10**6))
    given_up, answered = search(lambda rows: next(calls) % 3 == 0, 1)
    assert given_up == []
    assert answered == set(range(24))
