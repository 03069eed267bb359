"""The scheduler: events in, actions out. No Ray, no clock, no I/O.

Decides what is decoded, which actor gets which images, how much may be in flight, and what is
repeated after a loss. The coordinator executes the actions on Ray and reports events; the
simulation does the same in virtual time.

The unit is the *block*: images that share one object. A block counts for the queue of its pool
until its last image is completed or forwarded, because a loss of its actor replays it.

    event           effect
    ShardArrived    its images are cut into blocks and queued for the decoders
    SourceEnded     nothing more will come; partial batches may run
    ActorAdded      registers an actor of a pool
    ActorReady      it may get work: after its start, a loss, or a drain called off
    ActorLost       what it held is queued again, before all new work; see `recovery` for images
                    that were lost `max_attempts` times. A preemption does not count as a loss
    ActorDraining   it gets no new work, is emptied, and retires
    ActorRemoved    its number is forgotten; what it held is queued again
    BlockDecoded    it is queued for the first pool; images without pixels are completed, and so
                    are copies of other images, which share their answers
    CallFinished    completed images end; forwarded ones become a block of the next pool; a block
                    without pending images is released
    ObjectLost      its images start again from their source, except those inside an actor

    action          condition
    Decode          a decoder has a free slot, and the first queue has room
    Run             an actor has a free slot, and the next queue has room for all it may forward
    Flush           an actor drains or is to be isolated; or holds a partial batch that nothing
                    upstream can fill any more; or partial batches fill a queue, and so keep out
                    the images that would fill them
    Keep            a call forwarded images: their object is the data of this new block
    Release         all images of a block are completed or forwarded
    GiveUp          an image was alone with an actor that died, after `max_attempts` losses
    Retire          a draining actor is empty

The deepest pool comes first. Idle actors are preferred to busy ones, and among the idle ones an
actor on the node that holds the data. `calls_in_flight` bounds the calls of each actor.

Files: `events`, `actions` and `limits` are the interface. `state` has the blocks and calls, and for
each pool a `pool_state` with its queues. `dispatch` chooses actions; `recovery` handles losses.
"""

from typing import assert_never

import numpy as np

from pipeline.scheduling.actions import Action, Keep
from pipeline.scheduling.blocks import BlockSlice, Origins, Rows
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
    ShardArrived,
    SourceEnded,
)
from pipeline.scheduling.limits import Limits
from pipeline.scheduling.pool_state import Actor
from pipeline.scheduling.recovery import lose_actor, lose_object
from pipeline.scheduling.state import PoolLoad, SchedulerState

__all__ = ["Scheduler"]


class Scheduler:
    """Turns events into actions; see the module's docstring.

    Args:
        limits: pools, budgets and lengths.
    """

    def __init__(self, limits: Limits) -> None:
        self._state = SchedulerState(limits)

    @property
    def wants_shards(self) -> bool:
        """Whether the source should hand over another shard.

        The backlog is kept at two blocks for each slot of the decoders, so that listing never
        stops them.
        """
        decoders = self._state.decoders
        slots = max(1, len(decoders.actors)) * self._state.limits.calls_in_flight
        return not self._state.source_ended and len(decoders.queue) < 2 * slots

    @property
    def is_finished(self) -> bool:
        """Nothing is left, nothing more will come, and every action was handed out."""
        state = self._state
        return state.source_ended and not state.blocks and not state.actions

    @property
    def bytes_in_flight(self) -> int:
        """Size of all objects, those being decoded included."""
        return self._state.budget.total_used

    @property
    def queue_bytes(self) -> tuple[int, ...]:
        """Limit of each pool's queue."""
        return self._state.limits.queue_bytes

    def is_in_flight(self, call: int) -> bool:
        """Whether a result of this call is expected; one from before a loss must be dropped."""
        return call in self._state.calls

    def origins(self, block: int, rows: Rows) -> Origins:
        """Where pending rows of a decoded or forwarded block come from."""
        return self._state.blocks[block].origins.take(rows)

    def pending_images(self) -> Rows:
        """Every pending image as shard * 2**32 + row. For checks: takes linear time."""
        slices = [each for block in self._state.blocks.values() for each in block.slices]
        origins = [block_slice.pending_origins for block_slice in slices]
        images = [(shards << 32) + rows for shards, rows in origins]
        return np.concatenate([np.empty(0, dtype=np.int64), *images])

    def held_by(self, actor: int) -> tuple[int, int]:
        """Numbers of images and of blocks that an actor holds."""
        found = self._state.actors[actor]
        return found.num_held, len(found.held)

    def load(self, pool: int) -> PoolLoad:
        """How much work a pool has; `DECODERS` for the decoders."""
        return self._state.load(pool)

    def handle(self, event: Event) -> None:
        """Applies one event."""
        state = self._state
        match event:
            case CallFinished(call, completed, forwarded):
                self._call_finished(call, completed, forwarded)
            case BlockDecoded(call, decoded, completed_rows):
                self._block_decoded(call, decoded, completed_rows)
            case ShardArrived(shard, rows):
                state.add_rows(shard, rows)
            case SourceEnded():
                state.source_ended = True
            case ActorAdded(number, pool):
                assert number not in state.actors, f"actor {number} was added twice"
                actor = state.actors[number] = Actor(number, pool)
                state.pool(pool).actors[number] = actor
            case ActorReady(number, node):
                self._actor_ready(state.actors[number], node)
            case ActorLost(number, preempted):
                lose_actor(state, state.actors[number], counts=not preempted)
            case ActorDraining(number):
                actor = state.actors[number]
                state.pool(actor.pool).end_isolation(actor)
                actor.is_draining, actor.is_retired = True, False
                state.update(actor)
            case ActorRemoved(number):
                self._actor_removed(state.actors[number])
            case ObjectLost(block, failed_call):
                lose_object(state, block, failed_call)
            case _:
                assert_never(event)

    def next_actions(self) -> list[Action]:
        """What to do now; every action is handed out once."""
        dispatch(self._state)
        actions, self._state.actions = self._state.actions, []
        return actions

    def _actor_ready(self, actor: Actor, node: str | None) -> None:
        assert not actor.held, f"actor {actor.number} is ready, but not empty"
        pool, old_node = self._state.pool(actor.pool), actor.node
        # Leaves the index of its old node before it gets a new one.
        pool.set_ready(actor, False)
        actor.is_draining, actor.node = False, node
        pool.set_ready(actor, True)
        if old_node is not None:
            pool.forget_node(old_node)

    def _actor_removed(self, actor: Actor) -> None:
        pool = self._state.pool(actor.pool)
        lose_actor(self._state, actor, counts=False)
        actor.is_draining = actor.is_retired = False
        pool.reindex(actor)
        del pool.actors[actor.number], self._state.actors[actor.number]
        if actor.node is not None:
            pool.forget_node(actor.node)

    def _block_decoded(self, call: int, decoded: Rows, completed: Rows) -> None:
        state = self._state
        actor, block_slice = state.end_call(call)
        assert block_slice is not None, f"call {call} is no decode"
        block = block_slice.block
        state.unassign(actor, block.number)
        state.update(actor)
        if not len(decoded):
            state.remove(block_slice)
            return
        if len(decoded) < len(block.origins.rows):
            block.origins = block.origins.take(decoded)
            block.slices.clear()
            block_slice = BlockSlice.whole(block, block_slice.attempts)
        state.decoders.num_slices -= 1
        state.pools[0].num_slices += 1
        block.pool, block.node, block.has_data = 0, actor.node, True
        state.set_bytes(block, len(decoded) * state.limits.pools[0].bytes_per_image)
        block_slice.complete(completed)
        if block_slice.num_pending:
            state.enqueue(block_slice)
        else:
            state.remove(block_slice)

    def _call_finished(
        self, call: int, completed: dict[int, Rows], forwarded: Forwarded | None
    ) -> None:
        actor, _ = self._state.end_call(call)
        for number, rows in completed.items():
            self._state.complete(actor, number, rows)
        if forwarded is not None:
            self._forward(call, actor, forwarded)
        self._state.update(actor)

    def _forward(self, call: int, actor: Actor, forwarded: Forwarded) -> None:
        """Makes forwarded images a block of the next pool, with their origins."""
        state, pieces = self._state, forwarded.pieces
        assert actor.pool + 1 < len(state.pools), "the last pool cannot forward"
        origins = Origins.join([self.origins(number, rows) for number, rows in pieces])
        block = state.add_block(actor.pool + 1, origins, forwarded.num_bytes)
        block.node, block.has_data = actor.node, True
        # Images that travel with quarantined ones are quarantined with them.
        attempts = max(actor.held[number].attempts for number, _ in pieces)
        for number, rows in pieces:
            state.complete(actor, number, rows)
        state.enqueue(BlockSlice.whole(block, attempts))
        state.actions.append(Keep(block.number, call))
