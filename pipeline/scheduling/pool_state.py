"""The pool_state of a pool: its actors, filed by what may be done with them, and the work before it.

Each actor is in at most one place, so that finding the right one never takes a search:

    free      may get work, by calls in flight, then by node
    resting   (also free) no calls, but images inside that wait for company
    quarantined     emptied and kept for one suspect part at a time, no calls
    leaving   draining, no calls, not yet told to retire
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from pipeline.scheduling.blocks import BlockSlice
from pipeline.scheduling.ready_queue import ReadyQueue

__all__ = ["Actor", "PoolState"]

_MAX_QUARANTINED = 8


@dataclass(slots=True, eq=False)
class Actor:
    """What is known of an actor.

    Attributes:
        number: of the actor.
        pool: position of its pool.
        node: where it runs, if known.
        is_ready: up.
        is_draining: gets no new work.
        is_retired: draining, and told so.
        is_quarantined: gets suspect parts only, one at a time.
        calls: in flight.
        held: block's number -> the part of it that it was given.
        num_held: open images of these.
        place: where it is filed.
    """

    number: int
    pool: int
    node: str | None = None
    is_ready: bool = False
    is_draining: bool = False
    is_retired: bool = False
    is_quarantined: bool = False
    calls: set[int] = field(default_factory=set)
    held: dict[int, BlockSlice] = field(default_factory=dict)
    num_held: int = 0
    place: "tuple[OrderedDict[Actor, None], ...]" = ()


class PoolState:
    """Actors and waiting parts of a pool.

    Args:
        slots: calls in flight per actor.
    """

    def __init__(self, slots: int) -> None:
        self.actors: dict[int, Actor] = {}
        self.waiting, self.quarantined_slices = ReadyQueue(), ReadyQueue()
        self.resting: OrderedDict[Actor, None] = OrderedDict()
        self.quarantined: OrderedDict[Actor, None] = OrderedDict()
        self.leaving: OrderedDict[Actor, None] = OrderedDict()
        self.num_ready = self.num_quarantined = self.num_calls = self.num_parts = self.num_held = 0
        self._free: list[OrderedDict[Actor, None]] = [OrderedDict() for _ in range(slots)]
        self._free_on: dict[str, list[OrderedDict[Actor, None]]] = {}

    def file(self, actor: Actor) -> None:
        """Puts an actor where it belongs now; to be called after every change to it."""
        place = self._place(actor)
        if len(place) == len(actor.place) and all(
            new is old for new, old in zip(place, actor.place, strict=True)
        ):
            return
        for old in actor.place:
            del old[actor]
        for new in place:
            new[actor] = None
        actor.place = place

    def _place(self, actor: Actor) -> tuple[OrderedDict[Actor, None], ...]:
        load = len(actor.calls)
        if actor.is_draining:
            return (self.leaving,) if not load and not actor.is_retired else ()
        if not actor.is_ready:
            return ()
        if actor.is_quarantined:
            return () if load else (self.quarantined,)
        if load >= len(self._free):
            return ()
        place: tuple[OrderedDict[Actor, None], ...] = (self._free[load],)
        if actor.node is not None:
            if actor.node not in self._free_on:
                self._free_on[actor.node] = [OrderedDict() for _ in self._free]
            place += (self._free_on[actor.node][load],)
        return place if load or not actor.held else (*place, self.resting)

    def forget_node(self, node: str) -> None:
        """Drops what is kept for a node that no actor is free on."""
        if node in self._free_on and not any(self._free_on[node]):
            del self._free_on[node]

    def least_loaded(self) -> Actor | None:
        """The free actor with the fewest calls in flight."""
        for line in self._free:
            if line:
                return next(iter(line))
        return None

    def match(self) -> tuple[Actor, BlockSlice] | None:
        """The next part and the actor that gets it; None without a free actor or a waiting part.

        An idle actor before a busy one; among those, one on the node that has the bytes; and where
        the actor is elsewhere, the first part whose bytes it does have.
        """
        if not self.waiting:
            return None
        actor = self.least_loaded()
        if actor is None:
            return None
        part = self.waiting.first()
        node = part.block.node
        if node is None or actor.node == node:
            return actor, part
        if node in self._free_on:
            lines = self._free_on[node]
            for line in lines if actor.calls else lines[:1]:
                if line:
                    return next(iter(line)), part
        return actor, self.waiting.first_on(actor.node) or part

    def quarantine_actors(self) -> None:
        """Keeps actors for suspect parts, while these wait."""
        most = min(_MAX_QUARANTINED, max(1, self.num_ready // 8), len(self.quarantined_slices))
        while self.num_quarantined < most and (actor := self.least_loaded()) is not None:
            self._set_quarantined(actor, True)

    def join_again(self, actor: Actor) -> None:
        """An actor is no longer kept for suspect parts."""
        if actor.is_quarantined:
            self._set_quarantined(actor, False)

    def _set_quarantined(self, actor: Actor, is_quarantined: bool) -> None:
        actor.is_quarantined = is_quarantined
        self.num_quarantined += 1 if is_quarantined else -1
        self.file(actor)

    def set_ready(self, actor: Actor, is_ready: bool) -> None:
        """An actor comes up or goes down."""
        self.num_ready += is_ready - actor.is_ready
        actor.is_ready = is_ready
        self.file(actor)
