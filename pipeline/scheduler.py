"""The scheduler: events in, actions out. No Ray, no clock, no I/O.

It decides what is decoded, which actor gets it, how much may be in flight, and what to do again
after a loss. The coordinator executes actions and reports events; a simulation can do the same in
virtual time.

The unit is a *parcel*: neighbouring images of one shard that are decoded together. Its bytes count
against the budget from the moment its decoding starts until its last image is answered, because
until then its pixels are kept for a replay.

    event                     what follows
    ShardArrived              its images are cut into parcels and wait for a decoder
    SourceEnded               nothing more will come; what is partial may run
    ParcelDecoded             it waits for a cascade actor; one without pixels is over
    CallFinished              the answered images are over; a parcel without open images is released
    ActorLost                 every open image it held goes back to the queue; one that was lost
                              `max_attempts` times is given up
    ActorReady                it may get work (again)
    DecoderLost, DecoderReady the same for decoders

    action                    when
    Decode                    a decoder has a free slot and the budget has room
    Run                       a cascade actor has a free slot
    Flush                     an idle actor holds images that nothing upstream can join any more, or
                              whose bytes are the last that the budget has
    Release                   all images of a parcel are over
    GiveUp                    these images of a parcel were lost too often; they become dead letters
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from pipeline.events import (
    Action,
    ActorLost,
    ActorReady,
    CallFinished,
    Decode,
    DecoderLost,
    DecoderReady,
    Event,
    Flush,
    GiveUp,
    Limits,
    ParcelDecoded,
    Release,
    Rows,
    Run,
    ShardArrived,
    SourceEnded,
)

__all__ = ["Scheduler"]


@dataclass(slots=True)
class _Parcel:
    shard: int
    rows: Rows
    attempts: int = 0
    decoder: int | None = None
    actor: int | None = None
    open_rows: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Worker:
    """A decoder or an actor: ready or not, its calls in flight, and the parcels it holds."""

    ready: bool = False
    calls: set[int] = field(default_factory=set)
    parcels: set[int] = field(default_factory=set)


class Scheduler:
    """See the module's text.

    Args:
        limits: budgets and lengths.
        num_decoders: decode actors, numbered from 0; not ready yet.
        num_actors: cascade actors, numbered from 0; not ready yet.
    """

    def __init__(self, limits: Limits, num_decoders: int, num_actors: int) -> None:
        self._limits = limits
        self._decoders = [_Worker() for _ in range(num_decoders)]
        self._actors = [_Worker() for _ in range(num_actors)]
        self._parcels: dict[int, _Parcel] = {}
        self._undecoded: deque[int] = deque()
        self._decoded: deque[int] = deque()
        self._out: list[Action] = []
        self._actor_of_call: dict[int, int] = {}
        self._num_parcels = self._num_calls = 0
        self._bytes = 0
        self._ended = False

    @property
    def wants_shards(self) -> bool:
        """Whether the source may hand over another shard: the backlog of undecoded images is low.

        Enough for every decoder's slots and once more, so that listing never stops the decoders.
        """
        slots = len(self._decoders) * self._limits.calls_in_flight
        return not self._ended and len(self._undecoded) < 2 * slots

    @property
    def is_finished(self) -> bool:
        """Nothing is left, nothing more will come, and every action has been handed out."""
        return self._ended and not self._parcels and not self._out

    @property
    def bytes_in_flight(self) -> int:
        """Decoded pixels, or room kept for them."""
        return self._bytes

    def is_open(self, call: int) -> bool:
        """Whether an answer to this call still counts; one from before a loss does not."""
        return call in self._actor_of_call

    def handle(self, event: Event) -> None:
        """Takes note of one event."""
        match event:
            case ShardArrived(shard, rows):
                for start in range(0, len(rows), self._limits.parcel_length):
                    piece = rows[start : start + self._limits.parcel_length]
                    self._parcels[self._num_parcels] = _Parcel(shard, piece)
                    self._undecoded.append(self._num_parcels)
                    self._num_parcels += 1
            case SourceEnded():
                self._ended = True
            case DecoderReady(decoder):
                self._decoders[decoder].ready = True
            case DecoderLost(decoder):
                self._decoder_lost(decoder)
            case ParcelDecoded(parcel, num_decoded):
                self._parcel_decoded(parcel, num_decoded)
            case ActorReady(actor):
                self._actors[actor].ready = True
            case ActorLost(actor):
                self._actor_lost(actor)
            case CallFinished(call, finished):
                self._actors[self._actor_of_call.pop(call)].calls.discard(call)
                for parcel, rows in finished.items():
                    self._close_rows(parcel, rows)

    def next_actions(self) -> list[Action]:
        """What to do now; every action is handed out once."""
        self._start_decoding()
        self._start_runs()
        self._start_flushes()
        actions, self._out = self._out, []
        return actions

    def _start_decoding(self) -> None:
        while self._undecoded:
            decoder = _least_loaded(self._decoders, self._limits.calls_in_flight)
            parcel = self._parcels[self._undecoded[0]]
            num_bytes = len(parcel.rows) * self._limits.bytes_per_image
            # A parcel larger than the whole budget still has to pass, alone.
            has_room = not self._bytes or self._bytes + num_bytes <= self._limits.budget_bytes
            if decoder is None or not has_room:
                return
            number = self._undecoded.popleft()
            parcel.decoder = decoder
            self._bytes += num_bytes
            self._decoders[decoder].calls.add(number)
            self._out.append(Decode(number, parcel.shard, parcel.rows, decoder))

    def _start_runs(self) -> None:
        while self._decoded:
            actor = _least_loaded(self._actors, self._limits.calls_in_flight)
            if actor is None:
                return
            number = self._decoded.popleft()
            parcel = self._parcels[number]
            parcel.actor = actor
            self._actors[actor].parcels.add(number)
            rows = np.array(sorted(parcel.open_rows), dtype=np.int64)
            self._out.append(Run(self._new_call(actor), actor, number, rows))

    def _start_flushes(self) -> None:
        """Partial batches, only where nothing can fill them any more."""
        upstream_moves = any(worker.calls for worker in self._decoders) or bool(self._decoded)
        if upstream_moves or (self._undecoded and any(w.calls for w in self._actors)):
            return
        idle = [
            number
            for number, worker in enumerate(self._actors)
            if worker.ready and worker.parcels and not worker.calls
        ]
        if self._ended and not self._undecoded:
            for actor in idle:
                self._out.append(Flush(self._new_call(actor), actor))
        elif self._undecoded and idle and any(worker.ready for worker in self._decoders):
            # The budget is used up by images that wait for company which it keeps out.
            fullest = max(idle, key=lambda number: len(self._actors[number].parcels))
            self._out.append(Flush(self._new_call(fullest), fullest))

    def _new_call(self, actor: int) -> int:
        call = self._num_calls
        self._num_calls += 1
        self._actor_of_call[call] = actor
        self._actors[actor].calls.add(call)
        return call

    def _parcel_decoded(self, number: int, num_decoded: int) -> None:
        parcel = self._parcels[number]
        assert parcel.decoder is not None
        self._decoders[parcel.decoder].calls.discard(number)
        parcel.decoder = None
        parcel.open_rows = set(range(num_decoded))
        if parcel.open_rows:
            self._decoded.append(number)
        else:
            self._release(number)

    def _decoder_lost(self, decoder: int) -> None:
        worker = self._decoders[decoder]
        lost, worker.calls, worker.ready = sorted(worker.calls), set(), False
        for number in reversed(lost):
            parcel = self._parcels[number]
            parcel.decoder = None
            parcel.attempts += 1
            self._bytes -= len(parcel.rows) * self._limits.bytes_per_image
            if parcel.attempts >= self._limits.max_attempts and len(parcel.rows) > 1:
                self._halve(number)
            elif parcel.attempts >= self._limits.max_attempts:
                everything = np.arange(len(parcel.rows))
                self._out.append(GiveUp(number, everything, parcel.attempts))
                del self._parcels[number]
            else:
                self._undecoded.appendleft(number)

    def _halve(self, number: int) -> None:
        """Something in this parcel kills decoders: search for it."""
        parcel = self._parcels.pop(number)
        for piece in np.array_split(parcel.rows, 2):
            self._parcels[self._num_parcels] = _Parcel(parcel.shard, piece, parcel.attempts - 1)
            self._undecoded.appendleft(self._num_parcels)
            self._num_parcels += 1
        self._out.append(Release(number))

    def _actor_lost(self, actor: int) -> None:
        worker = self._actors[actor]
        for call in worker.calls:
            del self._actor_of_call[call]
        lost, worker.calls, worker.parcels = sorted(worker.parcels), set(), set()
        worker.ready = False
        for number in reversed(lost):
            parcel = self._parcels[number]
            parcel.actor = None
            parcel.attempts += 1
            if parcel.attempts >= self._limits.max_attempts:
                rows = np.array(sorted(parcel.open_rows), dtype=np.int64)
                self._out.append(GiveUp(number, rows, parcel.attempts))
                self._release(number)
            else:
                self._decoded.appendleft(number)

    def _close_rows(self, number: int, rows: Rows) -> None:
        parcel = self._parcels[number]
        closed = set(rows.tolist())
        assert len(closed) == len(rows), f"parcel {number}: an image was answered twice"
        assert closed <= parcel.open_rows, f"parcel {number}: an image was answered twice"
        parcel.open_rows -= closed
        if not parcel.open_rows:
            assert parcel.actor is not None
            self._actors[parcel.actor].parcels.discard(number)
            self._release(number)

    def _release(self, number: int) -> None:
        parcel = self._parcels.pop(number)
        self._bytes -= len(parcel.rows) * self._limits.bytes_per_image
        self._out.append(Release(number))


def _least_loaded(workers: list[_Worker], slots: int) -> int | None:
    """The ready worker with the fewest calls in flight; None if all slots are taken."""
    free = [
        (len(worker.calls), number)
        for number, worker in enumerate(workers)
        if worker.ready and len(worker.calls) < slots
    ]
    return min(free)[1] if free else None
