"""Hands out work: decodes, runs and flushes, as far as actors and bytes allow.

The deepest pool comes first. Every step takes constant time, whatever the number of actors and
blocks.
"""

from pipeline.scheduling.actions import Decode, Flush, Retire, Run
from pipeline.scheduling.blocks import BlockSlice
from pipeline.scheduling.limits import DECODERS
from pipeline.scheduling.pool_state import Actor, PoolState
from pipeline.scheduling.state import SchedulerState

__all__ = ["dispatch"]


def dispatch(state: SchedulerState) -> None:
    """Appends every action that is possible now to `state.actions`."""
    # The queues that had no room for some of the work.
    is_full = [False] * (len(state.pools) + 1)
    for pool in reversed(range(len(state.pools))):
        is_full[pool + 1] |= not _serve(state, state.pools[pool])
    is_full[0] = not _serve(state, state.decoders)
    # First pool first: a flush that finds no room in the next queue makes that queue flush, too.
    for pool in range(len(state.pools)):
        is_full[pool + 1] |= not _flush_partial(state, pool, is_full[pool])


def _serve(state: SchedulerState, pool: PoolState) -> bool:
    """Empties draining actors, then serves the quarantine, then the queue.

    Returns:
        False if the next queue had no room for some of it.
    """
    has_room = True
    while pool.draining and has_room:
        actor = next(iter(pool.draining))
        if actor.held:
            has_room = _flush(state, actor)
        else:
            actor.is_retired = True
            pool.reindex(actor)
            state.actions.append(Retire(actor.number))
    if pool.quarantine or pool.isolated:
        has_room &= _serve_quarantine(state, pool)
    while (match := pool.match()) is not None:
        if not _start(state, *match):
            return False
    return has_room


def _serve_quarantine(state: SchedulerState, pool: PoolState) -> bool:
    """Empties isolated actors and gives each one quarantined slice: what dies then is to blame."""
    pool.isolate_actors()
    while pool.isolated:
        actor = next(iter(pool.isolated))
        if actor.held:
            if not _flush(state, actor):
                return False
        elif pool.quarantine:
            if not _start(state, actor, pool.quarantine.first()):
                return False
        else:
            pool.end_isolation(actor)
    return True


def _flush_partial(state: SchedulerState, pool: int, is_full: bool) -> bool:
    """Flushes partial batches that nothing can fill any more; False if there was no room.

    Args:
        state: changed.
        pool: position of the pool.
        is_full: its queue had no room for something.
    """
    partial, is_waiting = state.pools[pool].partial, bool(state.pools[pool].queue)
    if not partial or is_waiting:
        return True
    if state.upstream_is_empty(pool):
        while partial:
            if not _flush(state, next(iter(partial))):
                return False
    elif is_full and not state.pools[pool].num_calls and not state.pool(pool - 1).num_calls:
        # Partial batches fill the queue, and so keep out the images that would fill them.
        return _flush(state, next(iter(partial)))
    return True


def _flush(state: SchedulerState, actor: Actor) -> bool:
    if not state.has_room(actor):
        return False
    state.actions.append(Flush(state.start_call(actor, None), actor.number))
    return True


def _start(state: SchedulerState, actor: Actor, block_slice: BlockSlice) -> bool:
    """Assigns a slice to an actor, if there is room for its results."""
    if actor.pool == DECODERS:
        return _start_decoding(state, actor, block_slice)
    if not state.has_room(actor, block_slice.num_pending):
        return False
    call = state.assign(actor, block_slice)
    rows = block_slice.pending_rows
    state.actions.append(Run(call, actor.number, block_slice.block.number, rows))
    return True


def _start_decoding(state: SchedulerState, actor: Actor, block_slice: BlockSlice) -> bool:
    num_bytes = block_slice.num_pending * state.limits.pools[0].bytes_per_image
    if not state.budget.has_room(0, num_bytes):
        return False
    call = state.assign(actor, block_slice)
    block = block_slice.block
    state.set_bytes(block, num_bytes)
    shard = int(block.origins.shards[0])
    state.actions.append(Decode(call, actor.number, block.number, shard, block.origins.rows))
    return True
