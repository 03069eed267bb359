"""What the scheduler knows, and the small steps that change it and keep its sums right.

Decides nothing: `dispatch` hands out work, `recovery` deals with losses.
"""

import numpy as np

from pipeline.scheduling.actions import Action, Release
from pipeline.scheduling.budget import Budget
from pipeline.scheduling.crew import Actor, Crew
from pipeline.scheduling.events import Rows
from pipeline.scheduling.limits import DECODERS, Limits
from pipeline.scheduling.parcels import Origins, Parcel, Part

__all__ = ["State"]


class State:
    """Parcels, actors, calls and bytes in flight.

    Args:
        limits: budgets and lengths.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.budget = Budget(limits)
        self.decoders = Crew(limits.calls_in_flight)
        self.crews = [Crew(limits.calls_in_flight) for _ in limits.pools]
        self.actors: dict[int, Actor] = {}
        self.parcels: dict[int, Parcel] = {}
        self.calls: dict[int, tuple[Actor, Part | None]] = {}
        self.out: list[Action] = []
        self.source_ended = False
        self._num_parcels = self._num_calls = 0

    def crew(self, pool: int) -> Crew:
        """Of a pool, or the decoders'."""
        return self.decoders if pool == DECODERS else self.crews[pool]

    def upstream_is_dry(self, pool: int) -> bool:
        """Nothing can come to this pool any more."""
        return (
            self.source_ended
            and not self.decoders.num_parts
            and not any(crew.num_parts for crew in self.crews[:pool])
        )

    def list_rows(self, shard: int, rows: Rows, attempts: int = 0, first: bool = False) -> None:
        """Cuts rows of a shard into parcels that wait for a decoder."""
        length = self.limits.parcel_length
        shards = np.full(len(rows), shard, dtype=np.int64)
        starts = range(0, len(rows), length)
        for start in reversed(starts) if first else starts:
            piece = slice(start, start + length)
            parcel = self.add_parcel(DECODERS, Origins(shards[piece], rows[piece]))
            self.wait(Part.whole(parcel, attempts), first)

    def add_parcel(self, pool: int, origins: Origins, num_bytes: int = 0) -> Parcel:
        """A new parcel on its way to a pool; its part is the caller's to make."""
        parcel = Parcel(self._num_parcels, pool, origins)
        self._num_parcels += 1
        self.parcels[parcel.number] = parcel
        self.set_bytes(parcel, num_bytes)
        self.crew(pool).num_parts += 1
        return parcel

    def set_bytes(self, parcel: Parcel, num_bytes: int) -> None:
        """The size of a parcel's data; pixels that are being decoded count for the first pool."""
        self.budget.add(max(parcel.pool, 0), num_bytes - parcel.num_bytes)
        parcel.num_bytes = num_bytes

    def wait(self, part: Part, first: bool = False) -> None:
        """A part waits for its pool, in one of two lines."""
        crew = self.crew(part.parcel.pool)
        is_suspect = part.attempts >= self.limits.max_attempts
        (crew.suspects if is_suspect else crew.waiting).push(part, first)

    def stop_waiting(self, part: Part) -> None:
        """Takes a part out of its line."""
        crew = self.crew(part.parcel.pool)
        (crew.waiting if part in crew.waiting else crew.suspects).remove(part)

    def give(self, actor: Actor, part: Part) -> int:
        """A waiting part goes to an actor; returns the call's number."""
        self.stop_waiting(part)
        assert part.parcel.number not in actor.held, f"{part}: two parts of it at one actor"
        part.actor = actor.number
        actor.held[part.parcel.number] = part
        self._count_held(actor, part.num_open)
        return self.start_call(actor, part)

    def start_call(self, actor: Actor, part: Part | None) -> int:
        """A new call to an actor; None for a flush."""
        call = self._num_calls
        self._num_calls += 1
        self.calls[call] = (actor, part)
        actor.calls.add(call)
        self.crew(actor.pool).num_calls += 1
        self.settle(actor)
        return call

    def end_call(self, call: int) -> tuple[Actor, Part | None]:
        """A call is over; to be followed by `settle` once its results are taken."""
        actor, part = self.calls.pop(call)
        actor.calls.discard(call)
        self.crew(actor.pool).num_calls -= 1
        return actor, part

    def settle(self, actor: Actor) -> None:
        """Files an actor anew and keeps room for all that its calls may forward."""
        pool = actor.pool
        if pool != DECODERS and pool + 1 < len(self.crews):
            room = self.forward_bytes(actor) if actor.calls else 0
            self.budget.keep(pool + 1, room, actor.number)
        self.crew(pool).file(actor)

    def forward_bytes(self, actor: Actor, num_more: int = 0) -> int:
        """What an actor may forward at most, if it gets so many more images."""
        per_image = self.limits.pools[actor.pool + 1].bytes_per_image
        return (actor.num_held + num_more) * per_image

    def has_room(self, actor: Actor, num_more: int = 0) -> bool:
        """Whether the next queue has room for all that an actor may forward."""
        pool = actor.pool + 1
        return pool == len(self.crews) or self.budget.has_room(
            pool, self.forward_bytes(actor, num_more), actor.number
        )

    def close(self, actor: Actor, parcel: int, rows: Rows) -> None:
        """These rows are over, or go on in another parcel."""
        part = actor.held[parcel]
        part.close(rows)
        self._count_held(actor, -len(rows))
        if not part.num_open:
            del actor.held[parcel]
            self.drop(part)

    def take_back(self, actor: Actor, parcel: int) -> Part:
        """An actor no longer has its part of a parcel."""
        part = actor.held.pop(parcel)
        part.actor = None
        self._count_held(actor, -part.num_open)
        return part

    def drop(self, part: Part) -> None:
        """A part is no more; the last one takes its parcel along."""
        parcel = part.parcel
        parcel.parts.discard(part)
        self.crew(parcel.pool).num_parts -= 1
        if not parcel.parts:
            self.set_bytes(parcel, 0)
            del self.parcels[parcel.number]
            self.out.append(Release(parcel.number))

    def _count_held(self, actor: Actor, num_images: int) -> None:
        actor.num_held += num_images
        self.crew(actor.pool).num_held += num_images
