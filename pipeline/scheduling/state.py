"""What the scheduler knows, and the small steps that change it and keep its sums right.

Decides nothing: `dispatch` hands out work, `recovery` deals with losses.
"""

import numpy as np

from pipeline.scheduling.actions import Action, Release
from pipeline.scheduling.blocks import Block, BlockSlice, Origins
from pipeline.scheduling.budget import Budget
from pipeline.scheduling.events import Rows
from pipeline.scheduling.limits import DECODERS, Limits
from pipeline.scheduling.pool_state import Actor, PoolState

__all__ = ["State"]


class State:
    """Blocks, actors, calls and bytes in flight.

    Args:
        limits: budgets and lengths.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.budget = Budget(limits)
        self.decoders = PoolState(limits.calls_in_flight)
        self.pool_states = [PoolState(limits.calls_in_flight) for _ in limits.pools]
        self.actors: dict[int, Actor] = {}
        self.blocks: dict[int, Block] = {}
        self.calls: dict[int, tuple[Actor, BlockSlice | None]] = {}
        self.out: list[Action] = []
        self.source_ended = False
        self._num_blocks = self._num_calls = 0

    def pool_state(self, pool: int) -> PoolState:
        """Of a pool, or the decoders'."""
        return self.decoders if pool == DECODERS else self.pool_states[pool]

    def upstream_is_dry(self, pool: int) -> bool:
        """Nothing can come to this pool any more."""
        return (
            self.source_ended
            and not self.decoders.num_parts
            and not any(pool_state.num_parts for pool_state in self.pool_states[:pool])
        )

    def list_rows(self, shard: int, rows: Rows, attempts: int = 0, first: bool = False) -> None:
        """Cuts rows of a shard into blocks that wait for a decoder."""
        length = self.limits.block_length
        shards = np.full(len(rows), shard, dtype=np.int64)
        starts = range(0, len(rows), length)
        for start in reversed(starts) if first else starts:
            piece = slice(start, start + length)
            block = self.add_block(DECODERS, Origins(shards[piece], rows[piece]))
            self.wait(BlockSlice.whole(block, attempts), first)

    def add_block(self, pool: int, origins: Origins, num_bytes: int = 0) -> Block:
        """A new block on its way to a pool; its part is the caller's to make."""
        block = Block(self._num_blocks, pool, origins)
        self._num_blocks += 1
        self.blocks[block.number] = block
        self.set_bytes(block, num_bytes)
        self.pool_state(pool).num_parts += 1
        return block

    def set_bytes(self, block: Block, num_bytes: int) -> None:
        """The size of a block's data; pixels that are being decoded count for the first pool."""
        self.budget.add(max(block.pool, 0), num_bytes - block.num_bytes)
        block.num_bytes = num_bytes

    def wait(self, part: BlockSlice, first: bool = False) -> None:
        """A part waits for its pool, in one of two lines."""
        pool_state = self.pool_state(part.block.pool)
        is_suspect = part.attempts >= self.limits.max_attempts
        (pool_state.quarantined_slices if is_suspect else pool_state.waiting).push(part, first)

    def stop_waiting(self, part: BlockSlice) -> None:
        """Takes a part out of its line."""
        pool_state = self.pool_state(part.block.pool)
        (
            pool_state.waiting if part in pool_state.waiting else pool_state.quarantined_slices
        ).remove(part)

    def give(self, actor: Actor, part: BlockSlice) -> int:
        """A waiting part goes to an actor; returns the call's number."""
        self.stop_waiting(part)
        assert part.block.number not in actor.held, f"{part}: two parts of it at one actor"
        part.actor = actor.number
        actor.held[part.block.number] = part
        self._count_held(actor, part.num_open)
        return self.start_call(actor, part)

    def start_call(self, actor: Actor, part: BlockSlice | None) -> int:
        """A new call to an actor; None for a flush."""
        call = self._num_calls
        self._num_calls += 1
        self.calls[call] = (actor, part)
        actor.calls.add(call)
        self.pool_state(actor.pool).num_calls += 1
        self.settle(actor)
        return call

    def end_call(self, call: int) -> tuple[Actor, BlockSlice | None]:
        """A call is over; to be followed by `settle` once its results are taken."""
        actor, part = self.calls.pop(call)
        actor.calls.discard(call)
        self.pool_state(actor.pool).num_calls -= 1
        return actor, part

    def settle(self, actor: Actor) -> None:
        """Files an actor anew and keeps room for all that its calls may forward."""
        pool = actor.pool
        if pool != DECODERS and pool + 1 < len(self.pool_states):
            room = self.forward_bytes(actor) if actor.calls else 0
            self.budget.keep(pool + 1, room, actor.number)
        self.pool_state(pool).file(actor)

    def forward_bytes(self, actor: Actor, num_more: int = 0) -> int:
        """What an actor may forward at most, if it gets so many more images."""
        per_image = self.limits.pools[actor.pool + 1].bytes_per_image
        return (actor.num_held + num_more) * per_image

    def has_room(self, actor: Actor, num_more: int = 0) -> bool:
        """Whether the next queue has room for all that an actor may forward."""
        pool = actor.pool + 1
        return pool == len(self.pool_states) or self.budget.has_room(
            pool, self.forward_bytes(actor, num_more), actor.number
        )

    def close(self, actor: Actor, block: int, rows: Rows) -> None:
        """These rows are over, or go on in another block."""
        part = actor.held[block]
        part.close(rows)
        self._count_held(actor, -len(rows))
        if not part.num_open:
            del actor.held[block]
            self.drop(part)

    def take_back(self, actor: Actor, block: int) -> BlockSlice:
        """An actor no longer has its part of a block."""
        part = actor.held.pop(block)
        part.actor = None
        self._count_held(actor, -part.num_open)
        return part

    def drop(self, part: BlockSlice) -> None:
        """A part is no more; the last one takes its block along."""
        block = part.block
        block.parts.discard(part)
        self.pool_state(block.pool).num_parts -= 1
        if not block.parts:
            self.set_bytes(block, 0)
            del self.blocks[block.number]
            self.out.append(Release(block.number))

    def _count_held(self, actor: Actor, num_images: int) -> None:
        actor.num_held += num_images
        self.pool_state(actor.pool).num_held += num_images
