"""Who gets what now: decodes, runs and flushes, as far as actors and bytes allow.

Deepest pool first. Every step takes the same time, however many actors and parcels there are.
"""

from pipeline.scheduling.actions import Decode, Flush, Retire, Run
from pipeline.scheduling.crew import Actor, Crew
from pipeline.scheduling.limits import DECODERS
from pipeline.scheduling.parcels import Part
from pipeline.scheduling.state import State

__all__ = ["dispatch"]


def dispatch(state: State) -> None:
    """Adds all that can be done now to `state.out`."""
    # Queues for which something was held back because they have no room.
    full = [False] * (len(state.crews) + 1)
    for pool in reversed(range(len(state.crews))):
        full[pool + 1] |= not _serve(state, state.crews[pool])
    full[0] = not _serve(state, state.decoders)
    # From the front to the back: a flush that finds no room presses on the queue behind it.
    for pool, crew in enumerate(state.crews):
        full[pool + 1] |= not _flush(state, pool, crew, full[pool])


def _serve(state: State, crew: Crew) -> bool:
    """Drains who leaves, then suspects, then all others; False where the next queue was full."""
    has_room = True
    while crew.leaving and has_room:
        actor = next(iter(crew.leaving))
        if actor.held:
            has_room = _flush_one(state, actor)
        else:
            actor.is_retired = True
            crew.file(actor)
            state.out.append(Retire(actor.number))
    if crew.suspects or crew.apart:
        has_room &= _serve_suspects(state, crew)
    while (match := crew.match()) is not None:
        if not _start(state, *match):
            return False
    return has_room


def _serve_suspects(state: State, crew: Crew) -> bool:
    """An actor is emptied and gets one suspect part alone; whatever then dies is guilty."""
    crew.set_apart()
    while crew.apart:
        actor = next(iter(crew.apart))
        if actor.held:
            if not _flush_one(state, actor):
                return False
        elif crew.suspects:
            if not _start(state, actor, crew.suspects.first()):
                return False
        else:
            crew.join_again(actor)
    return True


def _flush(state: State, pool: int, crew: Crew, is_full: bool) -> bool:
    """Partial batches, only where nothing can fill them any more; False where there was no room."""
    if not crew.resting or crew.waiting:
        return True
    if state.upstream_is_dry(pool):
        while crew.resting:
            if not _flush_one(state, next(iter(crew.resting))):
                return False
    elif is_full and not crew.num_calls and not state.crew(pool - 1).num_calls:
        # The budget is used up by images that wait for company which it keeps out.
        return _flush_one(state, next(iter(crew.resting)))
    return True


def _flush_one(state: State, actor: Actor) -> bool:
    if not state.has_room(actor):
        return False
    state.out.append(Flush(state.start_call(actor, None), actor.number))
    return True


def _start(state: State, actor: Actor, part: Part) -> bool:
    """Gives a waiting part to an actor, if its results have room."""
    if actor.pool == DECODERS:
        return _start_decoding(state, actor, part)
    if not state.has_room(actor, part.num_open):
        return False
    call = state.give(actor, part)
    state.out.append(Run(call, actor.number, part.parcel.number, part.open_rows))
    return True


def _start_decoding(state: State, actor: Actor, part: Part) -> bool:
    num_bytes = part.num_open * state.limits.pools[0].bytes_per_image
    if not state.budget.has_room(0, num_bytes):
        return False
    call = state.give(actor, part)
    parcel = part.parcel
    state.set_bytes(parcel, num_bytes)
    shard = int(parcel.origins.shards[0])
    state.out.append(Decode(call, actor.number, parcel.number, shard, parcel.origins.rows))
    return True
