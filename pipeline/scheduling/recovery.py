"""What happens after a loss.

An object was lost: its images start again from their source, unless an actor holds them.

An actor was lost; for the images that it held:

    losses so far                         what follows
    fewer than `max_attempts`             another actor runs them, before all new work
    `max_attempts`                        quarantine: an isolated actor runs them, and nothing else
    one more, alone with the actor        the slice is split in two, and both halves are quarantined
    one more, a single image              it is given up

So an image is given up only if its actor died while it held nothing else.
"""

import numpy as np

from pipeline.scheduling.actions import GiveUp
from pipeline.scheduling.blocks import BlockSlice, Origins
from pipeline.scheduling.limits import DECODERS
from pipeline.scheduling.pool_state import Actor
from pipeline.scheduling.state import SchedulerState

__all__ = ["lose_actor", "lose_object"]


def lose_actor(state: SchedulerState, actor: Actor, counts: bool) -> None:
    """Returns everything that an actor held to the queues.

    Args:
        state: changed.
        actor: the actor that died.
        counts: the loss counts as an attempt, because what it held may be to blame.
    """
    for call in tuple(actor.calls):
        state.end_call(call)
    pool = state.pool(actor.pool)
    pool.end_isolation(actor)
    pool.set_ready(actor, False)
    for block in sorted(actor.held, reverse=True):
        block_slice = state.unassign(actor, block)
        was_quarantined = block_slice.attempts >= state.limits.max_attempts
        block_slice.attempts += counts
        if block_slice.block.pool == DECODERS:
            state.set_bytes(block_slice.block, 0)
        elif not block_slice.block.has_data:
            _restart(state, block_slice)
            continue
        if counts and was_quarantined:
            _narrow_down(state, block_slice, actor.pool)
        else:
            state.enqueue(block_slice, first=True)
    state.update(actor)


def lose_object(state: SchedulerState, number: int, call: int | None) -> None:
    """Restarts the images of a block without data, except those that actors hold.

    Args:
        state: changed.
        number: of the block.
        call: the `Run` that failed for lack of the data, if any.
    """
    block = state.blocks.get(number)
    if call is not None:
        actor, block_slice = state.end_call(call)
        assert block_slice is not None, f"call {call} has no block"
        assert block_slice.block.number == number, f"call {call} has {block_slice}"
        state.unassign(actor, number)
        state.update(actor)
        # Back in the queue, it is restarted below with all others that wait.
        state.enqueue(block_slice)
    if block is None or block.pool == DECODERS:
        return
    block.has_data = False
    for block_slice in [waiting for waiting in block.slices if waiting.actor is None]:
        state.dequeue(block_slice)
        _restart(state, block_slice)


def _narrow_down(state: SchedulerState, block_slice: BlockSlice, pool: int) -> None:
    """Splits a slice that was alone with an actor that died, or gives up its only image."""
    origins = block_slice.pending_origins
    if block_slice.num_pending == 1:
        shard, row = int(origins.shards[0]), int(origins.rows[0])
        state.actions.append(GiveUp(shard, row, block_slice.attempts, pool))
        state.remove(block_slice)
    elif block_slice.block.pool == DECODERS:
        # A decode makes one object of a whole block, so each half needs a block of its own.
        state.remove(block_slice)
        halves = zip(
            np.array_split(origins.shards, 2), np.array_split(origins.rows, 2), strict=True
        )
        for shards, rows in reversed(list(halves)):
            block = state.add_block(DECODERS, Origins(shards, rows))
            state.enqueue(BlockSlice.whole(block, block_slice.attempts), first=True)
    else:
        state.pool(pool).num_slices += 1
        for half in reversed(block_slice.split()):
            state.enqueue(half, first=True)


def _restart(state: SchedulerState, block_slice: BlockSlice) -> None:
    """Queues the pending images of a slice for the decoders, shard by shard."""
    origins = block_slice.pending_origins
    state.remove(block_slice)
    for shard in reversed(np.unique(origins.shards).tolist()):
        rows = np.sort(origins.rows[origins.shards == shard])
        state.add_rows(shard, rows, block_slice.attempts, first=True)
