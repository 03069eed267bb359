"""The scheduler's state, and the steps that change it and keep its sums consistent.

Makes no decisions: `dispatch` hands out work, and `recovery` handles losses.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.scheduling.actions import Action, Release
from pipeline.scheduling.blocks import Block, BlockSlice, Origins, Rows
from pipeline.scheduling.budget import Budget
from pipeline.scheduling.limits import DECODERS, Limits
from pipeline.scheduling.pool_state import Actor, PoolState

__all__ = ["PoolLoad", "SchedulerState"]


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """How much work a pool has, and with what.

    Attributes:
        num_actors: added and not removed.
        num_ready: of those, up.
        num_isolated: of those, isolated for quarantined slices.
        num_calls: in flight.
        queued_images: waiting for any actor.
        quarantined_images: waiting for an isolated actor.
        held_images: assigned to actors.
        queue_bytes: of all these images; 0 for the decoders, whose output is in the first queue.
        reserved_bytes: that running calls of the pool before may add.
    """

    num_actors: int
    num_ready: int
    num_isolated: int
    num_calls: int
    queued_images: int
    quarantined_images: int
    held_images: int
    queue_bytes: int
    reserved_bytes: int


class SchedulerState:
    """Blocks, actors, calls and bytes in flight.

    Args:
        limits: pools, budgets and lengths.

    Attributes:
        calls: number -> the actor, and the slice passed to it; None for a flush.
        actions: to be handed out next.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.budget = Budget(limits)
        self.decoders = PoolState(limits.calls_in_flight)
        self.pools = [PoolState(limits.calls_in_flight) for _ in limits.pools]
        self.actors: dict[int, Actor] = {}
        self.blocks: dict[int, Block] = {}
        self.calls: dict[int, tuple[Actor, BlockSlice | None]] = {}
        self.actions: list[Action] = []
        self.source_ended = False
        self._num_blocks = self._num_calls = 0

    def pool(self, pool: int) -> PoolState:
        """The state of a pool, or of the decoders."""
        return self.decoders if pool == DECODERS else self.pools[pool]

    def load(self, pool: int) -> PoolLoad:
        """The load of a pool, or of the decoders."""
        state, is_pool = self.pool(pool), pool != DECODERS
        return PoolLoad(
            num_actors=len(state.actors),
            num_ready=state.num_ready,
            num_isolated=state.num_isolated,
            num_calls=state.num_calls,
            queued_images=state.queue.num_images,
            quarantined_images=state.quarantine.num_images,
            held_images=state.num_held,
            queue_bytes=self.budget.used(pool) if is_pool else 0,
            reserved_bytes=self.budget.reserved(pool) if is_pool else 0,
        )

    def upstream_is_empty(self, pool: int) -> bool:
        """Whether nothing can come to this pool any more."""
        return (
            self.source_ended
            and not self.decoders.num_slices
            and not any(upstream.num_slices for upstream in self.pools[:pool])
        )

    def add_rows(self, shard: int, rows: Rows, attempts: int = 0, first: bool = False) -> None:
        """Cuts rows of a shard into blocks and queues them for the decoders."""
        length = self.limits.block_length
        shards = np.full(len(rows), shard, dtype=np.int64)
        starts = range(0, len(rows), length)
        for start in reversed(starts) if first else starts:
            span = slice(start, start + length)
            block = self.add_block(DECODERS, Origins(shards[span], rows[span]))
            self.enqueue(BlockSlice.whole(block, attempts), first)

    def add_block(self, pool: int, origins: Origins, num_bytes: int = 0) -> Block:
        """Adds a block for a pool; the caller makes its slice."""
        block = Block(self._num_blocks, pool, origins)
        self._num_blocks += 1
        self.blocks[block.number] = block
        self.set_bytes(block, num_bytes)
        self.pool(pool).num_slices += 1
        return block

    def set_bytes(self, block: Block, num_bytes: int) -> None:
        """Sets the size of a block's data; blocks being decoded count for the first queue."""
        self.budget.add(max(block.pool, 0), num_bytes - block.num_bytes)
        block.num_bytes = num_bytes

    def enqueue(self, block_slice: BlockSlice, first: bool = False) -> None:
        """Adds a slice to the queue of its pool, or to the quarantine after too many losses."""
        pool = self.pool(block_slice.block.pool)
        is_quarantined = block_slice.attempts >= self.limits.max_attempts
        (pool.quarantine if is_quarantined else pool.queue).push(block_slice, first)

    def dequeue(self, block_slice: BlockSlice) -> None:
        """Removes a slice from the queue that it is in."""
        pool = self.pool(block_slice.block.pool)
        (pool.queue if block_slice in pool.queue else pool.quarantine).remove(block_slice)

    def assign(self, actor: Actor, block_slice: BlockSlice) -> int:
        """Moves a slice from its queue to an actor; returns the number of the call."""
        self.dequeue(block_slice)
        number = block_slice.block.number
        assert number not in actor.held, f"{block_slice}: two slices of it at one actor"
        block_slice.actor = actor.number
        actor.held[number] = block_slice
        self._count_held(actor, block_slice.num_pending)
        return self.start_call(actor, block_slice)

    def unassign(self, actor: Actor, block: int) -> BlockSlice:
        """Takes a slice back from an actor."""
        block_slice = actor.held.pop(block)
        block_slice.actor = None
        self._count_held(actor, -block_slice.num_pending)
        return block_slice

    def start_call(self, actor: Actor, block_slice: BlockSlice | None) -> int:
        """Adds a call to an actor; `block_slice` is None for a flush."""
        call = self._num_calls
        self._num_calls += 1
        self.calls[call] = (actor, block_slice)
        actor.calls.add(call)
        self.pool(actor.pool).num_calls += 1
        self.update(actor)
        return call

    def end_call(self, call: int) -> tuple[Actor, BlockSlice | None]:
        """Removes a call; the caller must `update` the actor once its results are taken."""
        actor, block_slice = self.calls.pop(call)
        actor.calls.discard(call)
        self.pool(actor.pool).num_calls -= 1
        return actor, block_slice

    def update(self, actor: Actor) -> None:
        """Reserves room for all that an actor's calls may forward, and reindexes the actor."""
        pool = actor.pool
        if pool != DECODERS and pool + 1 < len(self.pools):
            num_bytes = self._forward_bytes(actor) if actor.calls else 0
            self.budget.reserve(pool + 1, num_bytes, actor.number)
        self.pool(pool).reindex(actor)

    def has_room(self, actor: Actor, num_more: int = 0) -> bool:
        """Whether the next queue has room for all that an actor and `num_more` images may forward.

        The last pool forwards nothing.
        """
        pool = actor.pool + 1
        return pool == len(self.pools) or self.budget.has_room(
            pool, self._forward_bytes(actor, num_more), actor.number
        )

    def _forward_bytes(self, actor: Actor, num_more: int = 0) -> int:
        per_image = self.limits.pools[actor.pool + 1].bytes_per_image
        return (actor.num_held + num_more) * per_image

    def complete(self, actor: Actor, block: int, rows: Rows) -> None:
        """Ends rows at an actor: they are completed, or continue in another block."""
        block_slice = actor.held[block]
        block_slice.complete(rows)
        self._count_held(actor, -len(rows))
        if not block_slice.num_pending:
            del actor.held[block]
            self.remove(block_slice)

    def remove(self, block_slice: BlockSlice) -> None:
        """Removes a slice; the last one releases its block."""
        block = block_slice.block
        del block.slices[block_slice]
        self.pool(block.pool).num_slices -= 1
        if not block.slices:
            self.set_bytes(block, 0)
            del self.blocks[block.number]
            self.actions.append(Release(block.number))

    def _count_held(self, actor: Actor, num_images: int) -> None:
        actor.num_held += num_images
        self.pool(actor.pool).num_held += num_images
