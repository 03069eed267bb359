"""Who gets what now: decodes, runs and flushes, as far as actors and bytes allow.

Deepest pool first. Every step takes the same time, however many actors and blocks there are.
"""

from pipeline.scheduling.actions import Decode, Flush, Retire, Run
from pipeline.scheduling.blocks import BlockSlice
from pipeline.scheduling.limits import DECODERS
from pipeline.scheduling.pool_state import Actor, PoolState
from pipeline.scheduling.state import State

__all__ = ["dispatch"]


def dispatch(state: State) -> None:
    """Adds all that can be done now to `state.out`."""
    # Queues for which something was held back because they have no room.
    full = [False] * (len(state.pool_states) + 1)
    for pool in reversed(range(len(state.pool_states))):
        full[pool + 1] |= not _serve(state, state.pool_states[pool])
    full[0] = not _serve(state, state.decoders)
    # From the front to the back: a flush that finds no room presses on the queue behind it.
    for pool, pool_state in enumerate(state.pool_states):
        full[pool + 1] |= not _flush(state, pool, pool_state, full[pool])


def _serve(state: State, pool_state: PoolState) -> bool:
    """Drains who leaves, then quarantined_slices, then all others; False where the next queue was full."""
    has_room = True
    while pool_state.leaving and has_room:
        actor = next(iter(pool_state.leaving))
        if actor.held:
            has_room = _flush_one(state, actor)
        else:
            actor.is_retired = True
            pool_state.file(actor)
            state.out.append(Retire(actor.number))
    if pool_state.quarantined_slices or pool_state.quarantined:
        has_room &= _serve_suspects(state, pool_state)
    while (match := pool_state.match()) is not None:
        if not _start(state, *match):
            return False
    return has_room


def _serve_suspects(state: State, pool_state: PoolState) -> bool:
    """An actor is emptied and gets one suspect part alone; whatever then dies is guilty."""
    pool_state.quarantine_actors()
    while pool_state.quarantined:
        actor = next(iter(pool_state.quarantined))
        if actor.held:
            if not _flush_one(state, actor):
                return False
        elif pool_state.quarantined_slices:
            if not _start(state, actor, pool_state.quarantined_slices.first()):
                return False
        else:
            pool_state.join_again(actor)
    return True


def _flush(state: State, pool: int, pool_state: PoolState, is_full: bool) -> bool:
    """Partial batches, only where nothing can fill them any more; False where there was no room."""
    if not pool_state.resting or pool_state.waiting:
        return True
    if state.upstream_is_dry(pool):
        while pool_state.resting:
            if not _flush_one(state, next(iter(pool_state.resting))):
                return False
    elif is_full and not pool_state.num_calls and not state.pool_state(pool - 1).num_calls:
        # The budget is used up by images that wait for company which it keeps out.
        return _flush_one(state, next(iter(pool_state.resting)))
    return True


def _flush_one(state: State, actor: Actor) -> bool:
    if not state.has_room(actor):
        return False
    state.out.append(Flush(state.start_call(actor, None), actor.number))
    return True


def _start(state: State, actor: Actor, part: BlockSlice) -> bool:
    """Gives a waiting part to an actor, if its results have room."""
    if actor.pool == DECODERS:
        return _start_decoding(state, actor, part)
    if not state.has_room(actor, part.num_open):
        return False
    call = state.give(actor, part)
    state.out.append(Run(call, actor.number, part.block.number, part.open_rows))
    return True


def _start_decoding(state: State, actor: Actor, part: BlockSlice) -> bool:
    num_bytes = part.num_open * state.limits.pools[0].bytes_per_image
    if not state.budget.has_room(0, num_bytes):
        return False
    call = state.give(actor, part)
    block = part.block
    state.set_bytes(block, num_bytes)
    shard = int(block.origins.shards[0])
    state.out.append(Decode(call, actor.number, block.number, shard, block.origins.rows))
    return True
