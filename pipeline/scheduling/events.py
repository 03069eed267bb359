"""Events: what the coordinator reports to the scheduler. Plain data, no behaviour.

Shards, blocks, calls and actors are numbers. Decoders are actors of the pool `DECODERS`; all actors
share one numbering. `Rows` are positions in a shard's list of images where a shard is named, and in
a block's data where a block is named.

An image is *pending* until it is *completed*: answered, or failed permanently.
"""

from dataclasses import dataclass, field

import numpy as np

from pipeline.scheduling.blocks import Rows

__all__ = [
    "ActorAdded",
    "ActorDraining",
    "ActorLost",
    "ActorReady",
    "ActorRemoved",
    "BlockDecoded",
    "CallFinished",
    "Event",
    "Forwarded",
    "ObjectLost",
    "ShardArrived",
    "SourceEnded",
]


@dataclass(frozen=True, slots=True)
class ShardArrived:
    """Rows of a shard that have no result yet.

    May repeat rows whose answers were lost before their commit, even after `SourceEnded`.
    """

    shard: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class SourceEnded:
    """No more shards will come."""


@dataclass(frozen=True, slots=True)
class ActorAdded:
    """A new actor exists, but cannot take work yet.

    Attributes:
        actor: a number that no other actor has now.
        pool: position of its pool, or `DECODERS`.
    """

    actor: int
    pool: int


@dataclass(frozen=True, slots=True)
class ActorReady:
    """An actor is up, empty, and may get work: after its start, a loss, or a drain called off.

    Attributes:
        actor: its number.
        node: where it runs; None if that does not matter.
    """

    actor: int
    node: str | None = None


@dataclass(frozen=True, slots=True)
class ActorLost:
    """An actor died, or hung and was killed, with all it held; it may become ready again.

    Attributes:
        actor: its number.
        preempted: it was taken away with its node, so what it held is not to blame.
    """

    actor: int
    preempted: bool = False


@dataclass(frozen=True, slots=True)
class ActorDraining:
    """An actor is being drained: its node will be preempted, or its pool is shrinking."""

    actor: int


@dataclass(frozen=True, slots=True)
class ActorRemoved:
    """An actor is gone for good, without blame on what it held. Its number is free again."""

    actor: int


@dataclass(frozen=True, slots=True)
class BlockDecoded:
    """A `Decode` finished.

    Attributes:
        call: its number.
        decoded: which of the rows to decode have pixels, ascending. From now on these are the
            block's rows 0, 1, 2, …; all others are completed.
        completed: which of the new rows are completed although they have pixels.
    """

    call: int
    decoded: Rows
    completed: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Images that left an actor after its last stage, joined into one object.

    Attributes:
        pieces: (block, rows), in the order of the object's rows.
        num_bytes: size of the object.
    """

    pieces: tuple[tuple[int, Rows], ...]
    num_bytes: int


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A `Run` or `Flush` finished.

    Attributes:
        call: its number.
        completed: block -> rows; may include rows of earlier calls to the same actor.
        forwarded: images for the next pool; None if there are none.
    """

    call: int
    completed: dict[int, Rows]
    forwarded: Forwarded | None = None


@dataclass(frozen=True, slots=True)
class ObjectLost:
    """The data of a block is gone.

    Attributes:
        block: its number; a block that was released already is ignored.
        call: the `Run` that failed for lack of the data. It is over: its actor lives and holds none
            of its rows. None if the loss was noticed otherwise; rows inside actors stay there.
    """

    block: int
    call: int | None = None


Event = (
    ShardArrived
    | SourceEnded
    | ActorAdded
    | ActorReady
    | ActorLost
    | ActorDraining
    | ActorRemoved
    | BlockDecoded
    | CallFinished
    | ObjectLost
)
