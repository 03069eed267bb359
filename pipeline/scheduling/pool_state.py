"""One pool: its actors, indexed by what they can take next, and its queues.

Each index holds the actors of one kind, so that choosing one never takes a search:

    free       may get work; by calls in flight, and for each node by calls in flight
    partial    also free: no calls, but images of partial batches inside
    isolated   no calls; is emptied, then runs quarantined slices one at a time
    draining   no calls, not retired yet
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from pipeline.scheduling.blocks import BlockSlice
from pipeline.scheduling.ready_queue import ReadyQueue

__all__ = ["Actor", "PoolState"]

_MAX_ISOLATED = 8


@dataclass(slots=True, eq=False)
class Actor:
    """State of one actor.

    Attributes:
        number: identifies the actor.
        pool: position of its pool.
        node: where it runs, if known.
        is_ready: it is up.
        is_draining: it gets no new work.
        is_retired: it drained, and `Retire` was sent.
        is_isolated: it gets quarantined slices only, one at a time.
        calls: in flight.
        held: number of a block -> the slice of it assigned to this actor.
        num_held: pending images of these slices.
        indexes: of the pool, in which it is entered.
    """

    number: int
    pool: int
    node: str | None = None
    is_ready: bool = False
    is_draining: bool = False
    is_retired: bool = False
    is_isolated: bool = False
    calls: set[int] = field(default_factory=set)
    held: dict[int, BlockSlice] = field(default_factory=dict)
    num_held: int = 0
    indexes: "tuple[OrderedDict[Actor, None], ...]" = ()


class PoolState:
    """Actors and queues of one pool.

    Args:
        calls_in_flight: limit per actor.

    Attributes:
        queue: slices that wait for an actor.
        quarantine: slices that wait for an isolated actor.
        num_slices: waiting or assigned.
        num_held: pending images assigned to actors.
    """

    def __init__(self, calls_in_flight: int) -> None:
        self.actors: dict[int, Actor] = {}
        self.queue, self.quarantine = ReadyQueue(), ReadyQueue()
        self.partial: OrderedDict[Actor, None] = OrderedDict()
        self.isolated: OrderedDict[Actor, None] = OrderedDict()
        self.draining: OrderedDict[Actor, None] = OrderedDict()
        self.num_ready = self.num_isolated = self.num_calls = self.num_slices = self.num_held = 0
        self._free: list[OrderedDict[Actor, None]] = [OrderedDict() for _ in range(calls_in_flight)]
        self._free_on: dict[str, list[OrderedDict[Actor, None]]] = {}

    def reindex(self, actor: Actor) -> None:
        """Moves an actor to the indexes that fit it; call after every change to it."""
        indexes = self._indexes_of(actor)
        if len(indexes) == len(actor.indexes) and all(
            new is old for new, old in zip(indexes, actor.indexes, strict=True)
        ):
            return
        for old in actor.indexes:
            del old[actor]
        for new in indexes:
            new[actor] = None
        actor.indexes = indexes

    def _indexes_of(self, actor: Actor) -> tuple[OrderedDict[Actor, None], ...]:
        num_calls = len(actor.calls)
        if actor.is_draining:
            return (self.draining,) if not num_calls and not actor.is_retired else ()
        if not actor.is_ready:
            return ()
        if actor.is_isolated:
            return () if num_calls else (self.isolated,)
        if num_calls >= len(self._free):
            return ()
        indexes: tuple[OrderedDict[Actor, None], ...] = (self._free[num_calls],)
        if actor.node is not None:
            if actor.node not in self._free_on:
                self._free_on[actor.node] = [OrderedDict() for _ in self._free]
            indexes += (self._free_on[actor.node][num_calls],)
        return indexes if num_calls or not actor.held else (*indexes, self.partial)

    def forget_node(self, node: str) -> None:
        """Drops the index of a node that has no free actor."""
        if node in self._free_on and not any(self._free_on[node]):
            del self._free_on[node]

    def least_loaded(self) -> Actor | None:
        """The free actor with the fewest calls in flight."""
        for actors in self._free:
            if actors:
                return next(iter(actors))
        return None

    def match(self) -> tuple[Actor, BlockSlice] | None:
        """The next slice and the actor that gets it; None if either is missing.

        Prefers idle actors to busy ones, and among the idle ones an actor on the node that holds
        the slice's data. If the actor is on another node, it gets the first slice whose data is
        there, if any.
        """
        if not self.queue:
            return None
        actor = self.least_loaded()
        if actor is None:
            return None
        block_slice = self.queue.first()
        node = block_slice.block.node
        if node is None or actor.node == node:
            return actor, block_slice
        if node in self._free_on:
            by_calls = self._free_on[node]
            for actors in by_calls if actor.calls else by_calls[:1]:
                if actors:
                    return next(iter(actors)), block_slice
        return actor, self.queue.first_on(actor.node) or block_slice

    def isolate_actors(self) -> None:
        """Isolates actors for the quarantine: at most one in eight, and eight in all."""
        limit = min(_MAX_ISOLATED, max(1, self.num_ready // 8), len(self.quarantine))
        while self.num_isolated < limit and (actor := self.least_loaded()) is not None:
            self._set_isolated(actor, True)

    def end_isolation(self, actor: Actor) -> None:
        """Makes an actor available for all slices again."""
        if actor.is_isolated:
            self._set_isolated(actor, False)

    def _set_isolated(self, actor: Actor, is_isolated: bool) -> None:
        actor.is_isolated = is_isolated
        self.num_isolated += 1 if is_isolated else -1
        self.reindex(actor)

    def set_ready(self, actor: Actor, is_ready: bool) -> None:
        """Records that an actor came up or went down."""
        self.num_ready += is_ready - actor.is_ready
        actor.is_ready = is_ready
        self.reindex(actor)
