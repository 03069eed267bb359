"""The scheduler: events in, actions out. No Ray, no clock, no I/O.

It decides what is decoded, which actor gets it, how much may be in flight, and what to do again
after a loss. The coordinator executes actions and reports events; the simulation does the same in
virtual time.

The unit is a *block*: images that share one object. Its bytes count for the queue of its pool
until its last image is over or has gone on, because until then they are kept for a replay.

    event           what follows
    ShardArrived    its images are cut into blocks and wait for a decoder
    SourceEnded     nothing more will come; what is partial may run
    ActorAdded      a number for a new actor of a pool
    ActorReady      it may get work: at first, after a loss, or after all
    ActorLost       what it held goes to others, before all that is new; see `recovery` for images
                    that were lost `max_attempts` times. After a preemption nothing is counted
    ActorDraining   it gets no new work, hands over what it holds, and retires
    ActorRemoved    its number is forgotten; what it held goes to others
    BlockDecoded   it waits for an actor of the first pool; images without pixels are over, and
                    copies of others, which share their answers
    CallFinished    answered images are over; forwarded ones become a block of the next pool; a
                    block without open images is released
    ObjectLost      its images start again from their source, unless they are inside an actor

    action          when
    Decode          a decoder has a free slot and the first queue has room
    Run             an actor has a free slot, and the next queue has room for all it may forward
    Flush           an actor drains, or is kept for a suspect; or holds images that nothing upstream
                    can join any more; or images that wait for company fill the queue and keep it
                    out
    Keep            a call forwarded images: its object is the data of this block
    Release         all images of a block are over, or have gone on
    GiveUp          an image was alone with an actor that died, after `max_attempts` losses
    Retire          a draining actor is empty

Deepest pool first. An idle actor goes before a busy one, among these one on the node that holds
the bytes. `calls_in_flight` bounds the calls of each actor.
"""

from typing import assert_never

import numpy as np

from pipeline.scheduling.actions import Action, Keep
from pipeline.scheduling.blocks import BlockSlice, Origins
from pipeline.scheduling.dispatch import dispatch
from pipeline.scheduling.events import (
    ActorAdded,
    ActorDraining,
    ActorLost,
    ActorReady,
    ActorRemoved,
    BlockDecoded,
    CallFinished,
    Event,
    Forwarded,
    ObjectLost,
    Rows,
    ShardArrived,
    SourceEnded,
)
from pipeline.scheduling.limits import Limits
from pipeline.scheduling.load import PoolLoad, load_of
from pipeline.scheduling.pool_state import Actor
from pipeline.scheduling.recovery import lose_actor, lose_object
from pipeline.scheduling.state import State

__all__ = ["Scheduler"]


class Scheduler:
    """See the module's text.

    Args:
        limits: pools, budgets and lengths.
    """

    def __init__(self, limits: Limits) -> None:
        self._state = State(limits)

    @property
    def wants_shards(self) -> bool:
        """Whether the source may hand over another shard: the backlog of undecoded images is low.

        Enough for every decoder's slots and once more, so that listing never stops the decoders.
        """
        decoders = self._state.decoders
        slots = max(1, len(decoders.actors)) * self._state.limits.calls_in_flight
        return not self._state.source_ended and len(decoders.waiting) < 2 * slots

    @property
    def is_finished(self) -> bool:
        """Nothing is left, nothing more will come, and every action has been handed out."""
        state = self._state
        return state.source_ended and not state.blocks and not state.out

    @property
    def bytes_in_flight(self) -> int:
        """Of all objects, and of the room kept for pixels that are being decoded."""
        return self._state.budget.total

    @property
    def queue_bytes(self) -> tuple[int, ...]:
        """Limit of each pool's queue."""
        return self._state.limits.queue_bytes

    def is_open(self, call: int) -> bool:
        """Whether an answer to this call still counts; one from before a loss does not."""
        return call in self._state.calls

    def origins(self, block: int, rows: Rows) -> Origins:
        """Where rows of a decoded or forwarded block are from, before their end is reported."""
        origins = self._state.blocks[block].origins
        return Origins(origins.shards[rows], origins.rows[rows])

    def open_images(self) -> Rows:
        """Every image that has not ended, as shard * 2**32 + row; for checks, takes its time."""
        parts = [part for block in self._state.blocks.values() for part in block.parts]
        origins = [part.open_origins() for part in parts]
        images = [(shards << 32) + rows for shards, rows in origins]
        return np.concatenate([np.empty(0, dtype=np.int64), *images])

    def holding(self, actor: int) -> tuple[int, int]:
        """Images and blocks that would be lost with an actor."""
        found = self._state.actors[actor]
        return found.num_held, len(found.held)

    def load(self, pool: int) -> PoolLoad:
        """How much a pool, or `DECODERS`, has before it; for whoever sets the pools' sizes."""
        return load_of(self._state, pool)

    def handle(self, event: Event) -> None:
        """Takes note of one event."""
        state = self._state
        match event:
            case CallFinished(call, answered, forwarded):
                self._call_finished(call, answered, forwarded)
            case BlockDecoded(call, decoded, over):
                self._block_decoded(call, decoded, over)
            case ShardArrived(shard, rows):
                state.list_rows(shard, rows)
            case SourceEnded():
                state.source_ended = True
            case ActorAdded(number, pool):
                assert number not in state.actors, f"actor {number} was added twice"
                actor = state.actors[number] = Actor(number, pool)
                state.pool_state(pool).actors[number] = actor
            case ActorReady(number, node):
                self._actor_ready(state.actors[number], node)
            case ActorLost(number, preempted):
                lose_actor(state, state.actors[number], counts=not preempted)
            case ActorDraining(number):
                actor = state.actors[number]
                state.pool_state(actor.pool).join_again(actor)
                actor.is_draining, actor.is_retired = True, False
                state.settle(actor)
            case ActorRemoved(number):
                self._actor_removed(state.actors[number])
            case ObjectLost(block, lost_call):
                lose_object(state, block, lost_call)
            case _:
                assert_never(event)

    def next_actions(self) -> list[Action]:
        """What to do now; every action is handed out once."""
        dispatch(self._state)
        actions, self._state.out = self._state.out, []
        return actions

    def _actor_ready(self, actor: Actor, node: str | None) -> None:
        assert not actor.held, f"actor {actor.number} is ready, but not empty"
        pool_state, old_node = self._state.pool_state(actor.pool), actor.node
        # Filed under the old node no more before it gets a new one.
        pool_state.set_ready(actor, False)
        actor.is_draining, actor.node = False, node
        pool_state.set_ready(actor, True)
        if old_node is not None:
            pool_state.forget_node(old_node)

    def _actor_removed(self, actor: Actor) -> None:
        pool_state = self._state.pool_state(actor.pool)
        lose_actor(self._state, actor, counts=False)
        actor.is_draining = actor.is_retired = False
        pool_state.file(actor)
        del pool_state.actors[actor.number], self._state.actors[actor.number]
        if actor.node is not None:
            pool_state.forget_node(actor.node)

    def _block_decoded(self, call: int, decoded: Rows, over: Rows) -> None:
        state = self._state
        actor, part = state.end_call(call)
        assert part is not None, f"call {call} is no decode"
        block = part.block
        state.take_back(actor, block.number)
        state.settle(actor)
        if not len(decoded):
            state.drop(part)
            return
        if len(decoded) < len(block.origins.rows):
            block.origins = Origins(block.origins.shards[decoded], block.origins.rows[decoded])
            block.parts.clear()
            part = BlockSlice.whole(block, part.attempts)
        state.decoders.num_parts -= 1
        state.pool_states[0].num_parts += 1
        block.pool, block.node, block.has_data = 0, actor.node, True
        state.set_bytes(block, len(decoded) * state.limits.pools[0].bytes_per_image)
        part.close(over)
        if part.num_open:
            state.wait(part)
        else:
            state.drop(part)

    def _call_finished(
        self, call: int, answered: dict[int, Rows], forwarded: Forwarded | None
    ) -> None:
        actor, _ = self._state.end_call(call)
        for number, rows in answered.items():
            self._state.close(actor, number, rows)
        if forwarded is not None:
            self._forward(call, actor, forwarded)
        self._state.settle(actor)

    def _forward(self, call: int, actor: Actor, forwarded: Forwarded) -> None:
        """What was forwarded is a new block, which keeps where its images are from."""
        state, pieces = self._state, forwarded.pieces
        assert actor.pool + 1 < len(state.pool_states), "the last pool has no other to forward to"
        origins = [self.origins(number, rows) for number, rows in pieces]
        block = state.add_block(
            actor.pool + 1,
            Origins(
                np.concatenate([piece.shards for piece in origins]),
                np.concatenate([piece.rows for piece in origins]),
            ),
            forwarded.num_bytes,
        )
        block.node, block.has_data = actor.node, True
        # Whoever travels with a suspect is one.
        attempts = max(actor.held[number].attempts for number, _ in pieces)
        for number, rows in pieces:
            state.close(actor, number, rows)
        state.wait(BlockSlice.whole(block, attempts))
        state.out.append(Keep(block.number, call))
