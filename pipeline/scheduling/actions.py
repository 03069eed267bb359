"""Actions: what the scheduler asks the coordinator to do. Plain data, no behaviour.

Numbers and rows are those of `events`.
"""

from dataclasses import dataclass

from pipeline.scheduling.blocks import Rows

__all__ = ["Action", "Decode", "Flush", "GiveUp", "Keep", "Release", "Retire", "Run"]


@dataclass(frozen=True, slots=True)
class Decode:
    """Fetch and decode rows of a shard on a decoder; the result is the data of the block."""

    call: int
    actor: int
    block: int
    shard: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class Run:
    """Pass rows of a block's data to an actor."""

    call: int
    actor: int
    block: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class Flush:
    """Make an actor run its partial batches, until it holds nothing."""

    call: int
    actor: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep what a finished call forwarded as the data of a new block."""

    block: int
    call: int


@dataclass(frozen=True, slots=True)
class Release:
    """Drop a block and its data."""

    block: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Record a dead letter: this image kills every actor that holds it.

    Attributes:
        shard: the image is of.
        row: its position in the shard.
        attempts: losses it was part of.
        pool: position of the pool whose actor it killed last, or `DECODERS`.
    """

    shard: int
    row: int
    attempts: int
    pool: int


@dataclass(frozen=True, slots=True)
class Retire:
    """End a draining actor: it holds nothing and gets nothing more. Sent once."""

    actor: int


Action = Decode | Run | Flush | Keep | Release | GiveUp | Retire
