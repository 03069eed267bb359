"""What the scheduler is told: plain data, no behaviour.

Shards, blocks, calls and actors are numbers; decoders are actors of the pool `DECODERS`, and
share one numbering with all others. Rows are positions in a shard's list of images where a shard
is named, and positions in a block's data where a block is named.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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
    "Rows",
    "ShardArrived",
    "SourceEnded",
]

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ShardArrived:
    """Rows of a shard that have no result yet.

    Also for rows whose answers were lost on their way to the table, even after `SourceEnded`.
    """

    shard: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class SourceEnded:
    """No more shards will come."""


@dataclass(frozen=True, slots=True)
class ActorAdded:
    """There is a new actor, with a number that no actor has now; it may not get work yet.

    Attributes:
        actor: its number.
        pool: position of its pool, or `DECODERS`.
    """

    actor: int
    pool: int


@dataclass(frozen=True, slots=True)
class ActorReady:
    """An actor is up and empty and may get work: at first, after a loss, or drained in vain.

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
        preempted: it was taken away with its node: no fault of what it held.
    """

    actor: int
    preempted: bool = False


@dataclass(frozen=True, slots=True)
class ActorDraining:
    """An actor is to go: its node got notice, or its pool shrinks."""

    actor: int


@dataclass(frozen=True, slots=True)
class ActorRemoved:
    """An actor is gone for good; what it still held was no fault of it. Its number is free."""

    actor: int


@dataclass(frozen=True, slots=True)
class BlockDecoded:
    """A `Decode` is done.

    Attributes:
        call: its number.
        decoded: positions, in the rows that were to be decoded, of those that have pixels;
            ascending. They are the block's rows 0, 1, 2, … from now on. All others are over.
        over: of these new rows, those that are over as well, though they have pixels.
    """

    call: int
    decoded: Rows
    over: Rows = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Images that left an actor behind its last stage, joined into one object.

    Attributes:
        pieces: (block, rows), in the order of the object's rows.
        num_bytes: of the object.
    """

    pieces: tuple[tuple[int, Rows], ...]
    num_bytes: int


@dataclass(frozen=True, slots=True)
class CallFinished:
    """A `Run` or `Flush` is done.

    Attributes:
        call: its number.
        answered: block -> rows that are over: answered, or failed for good. Those of earlier
            calls to the same actor may be among them.
        forwarded: what goes on to the next pool; None if nothing does.
    """

    call: int
    answered: dict[int, Rows]
    forwarded: Forwarded | None = None


@dataclass(frozen=True, slots=True)
class ObjectLost:
    """A block's data is gone.

    Attributes:
        block: its number; one that is over already is nothing to worry about.
        call: the `Run` that could not get it, which is over: its actor lives and has none of these
            rows. None if the loss was noticed otherwise; rows that are inside actors stay there.
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
