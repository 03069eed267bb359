"""What the scheduler is told, and what it answers: plain data, no behaviour.

Parcels, calls, shards, actors and decoders are numbers; rows are positions within a shard (before
decoding) or within a decoded parcel (after it).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Action",
    "ActorLost",
    "ActorReady",
    "CallFinished",
    "Decode",
    "DecoderLost",
    "DecoderReady",
    "Event",
    "Flush",
    "GiveUp",
    "Limits",
    "ParcelDecoded",
    "Release",
    "Rows",
    "Run",
    "ShardArrived",
    "SourceEnded",
]

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the scheduler may use.

    Attributes:
        parcel_length: images decoded together.
        bytes_per_image: of decoded pixels.
        budget_bytes: of all parcels between the start of decoding and their release.
        calls_in_flight: per actor; two keep it busy while the next arrives.
        max_attempts: how often an image may be lost with an actor.
    """

    parcel_length: int
    bytes_per_image: int
    budget_bytes: int
    calls_in_flight: int = 2
    max_attempts: int = 3


@dataclass(frozen=True, slots=True)
class ShardArrived:
    """Rows of a shard that have no result yet."""

    shard: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class SourceEnded:
    """No more shards will come."""


@dataclass(frozen=True, slots=True)
class DecoderReady:
    """A decoder may get work."""

    decoder: int


@dataclass(frozen=True, slots=True)
class DecoderLost:
    """A decoder died with what it was decoding."""

    decoder: int


@dataclass(frozen=True, slots=True)
class ParcelDecoded:
    """`num_decoded` images have pixels; they are rows 0..num_decoded-1 from now on."""

    parcel: int
    num_decoded: int


@dataclass(frozen=True, slots=True)
class ActorReady:
    """A cascade actor may get work."""

    actor: int


@dataclass(frozen=True, slots=True)
class ActorLost:
    """A cascade actor died with all it held."""

    actor: int


@dataclass(frozen=True, slots=True)
class CallFinished:
    """Answered rows of each parcel; those of earlier calls to the same actor among them."""

    call: int
    finished: dict[int, Rows]


Event = (
    ShardArrived
    | SourceEnded
    | DecoderReady
    | DecoderLost
    | ParcelDecoded
    | ActorReady
    | ActorLost
    | CallFinished
)


@dataclass(frozen=True, slots=True)
class Decode:
    """Fetch and decode these rows of a shard."""

    parcel: int
    shard: int
    rows: Rows
    decoder: int


@dataclass(frozen=True, slots=True)
class Run:
    """Give these rows of a decoded parcel to an actor."""

    call: int
    actor: int
    parcel: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class Flush:
    """Let an actor run its partial batches."""

    call: int
    actor: int


@dataclass(frozen=True, slots=True)
class Release:
    """Forget a parcel and its pixels."""

    parcel: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """`rows` count from 0 in what was last known of the parcel: listed, or decoded, images."""

    parcel: int
    rows: Rows
    attempts: int


Action = Decode | Run | Flush | Release | GiveUp
