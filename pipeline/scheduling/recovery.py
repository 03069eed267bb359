"""What is done after a loss: again elsewhere, again from the source, alone, in halves, or no more.

The steps for images that an actor held when it died:

    lost fewer than `max_attempts` times    they go to another actor, before all that is new
    lost as often as that                   they are suspect: an actor is emptied and kept for them
    lost alone                              divided in two, both halves suspect
    one image, lost alone                   given up

So an image is given up only after it was alone with an actor that died, and takes no other along.
"""

import numpy as np

from pipeline.scheduling.actions import GiveUp
from pipeline.scheduling.blocks import BlockSlice, Origins
from pipeline.scheduling.limits import DECODERS
from pipeline.scheduling.pool_state import Actor
from pipeline.scheduling.state import State

__all__ = ["lose_actor", "lose_object"]


def lose_actor(state: State, actor: Actor, counts: bool) -> None:
    """All that an actor held is done again.

    Args:
        state: changed.
        actor: that died.
        counts: whether what it held may be the reason.
    """
    for call in tuple(actor.calls):
        state.end_call(call)
    pool_state = state.pool_state(actor.pool)
    pool_state.join_again(actor)
    pool_state.set_ready(actor, False)
    for block in sorted(actor.held, reverse=True):
        part = state.take_back(actor, block)
        was_suspect = part.attempts >= state.limits.max_attempts
        part.attempts += counts
        if part.block.pool == DECODERS:
            state.set_bytes(part.block, 0)
        elif not part.block.has_data:
            _restart(state, part)
            continue
        if counts and was_suspect:
            _narrow_down(state, part, actor.pool)
        else:
            state.wait(part, first=True)
    state.settle(actor)


def lose_object(state: State, number: int, call: int | None) -> None:
    """Images whose data is gone start again from their source, unless they are inside an actor."""
    block = state.blocks.get(number)
    if call is not None:
        actor, part = state.end_call(call)
        assert part is not None, f"call {call} has no block"
        assert part.block.number == number, f"call {call} has {part}"
        state.take_back(actor, number)
        state.settle(actor)
        # It waits no more than others that wait, so that one path serves all.
        state.wait(part)
    if block is None or block.pool == DECODERS:
        return
    block.has_data = False
    for part in [part for part in block.parts if part.actor is None]:
        state.stop_waiting(part)
        _restart(state, part)


def _narrow_down(state: State, part: BlockSlice, pool: int) -> None:
    """This part was alone with an actor that died."""
    if part.num_open == 1:
        origins = part.open_origins()
        shard, row = int(origins.shards[0]), int(origins.rows[0])
        state.out.append(GiveUp(shard, row, part.attempts, pool))
        state.drop(part)
    elif part.block.pool == DECODERS:
        origins = part.open_origins()
        state.drop(part)
        pieces = zip(
            np.array_split(origins.shards, 2), np.array_split(origins.rows, 2), strict=True
        )
        for shards, rows in reversed(list(pieces)):
            half = state.add_block(DECODERS, Origins(shards, rows))
            state.wait(BlockSlice.whole(half, part.attempts), first=True)
    else:
        state.pool_state(pool).num_parts += 1
        for piece in reversed(part.halves()):
            state.wait(piece, first=True)


def _restart(state: State, part: BlockSlice) -> None:
    """Open images wait for a decoder again, shard by shard."""
    origins = part.open_origins()
    state.drop(part)
    for shard in reversed(np.unique(origins.shards).tolist()):
        rows = np.sort(origins.rows[origins.shards == shard])
        state.list_rows(shard, rows, part.attempts, first=True)
