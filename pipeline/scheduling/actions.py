"""What the scheduler answers: plain data, no behaviour. Numbers and rows are those of `events`."""

from dataclasses import dataclass

from pipeline.scheduling.events import Rows

__all__ = ["Action", "Decode", "Flush", "GiveUp", "Keep", "Release", "Retire", "Run"]


@dataclass(frozen=True, slots=True)
class Decode:
    """Let a decoder fetch and decode these rows of a shard; they become this block."""

    call: int
    actor: int
    block: int
    shard: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class Run:
    """Give these rows of a block's data to an actor."""

    call: int
    actor: int
    block: int
    rows: Rows


@dataclass(frozen=True, slots=True)
class Flush:
    """Let an actor run its partial batches and hand over all it holds."""

    call: int
    actor: int


@dataclass(frozen=True, slots=True)
class Keep:
    """What this finished call forwarded is the data of this block, a new one."""

    block: int
    call: int


@dataclass(frozen=True, slots=True)
class Release:
    """Forget a block and its data."""

    block: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """An image that kills whatever holds it, found by halving; it becomes a dead letter.

    Attributes:
        shard: where it is from.
        row: its position in the shard.
        attempts: losses that it was part of.
        pool: position of the pool whose actor it killed last, or `DECODERS`.
    """

    shard: int
    row: int
    attempts: int
    pool: int


@dataclass(frozen=True, slots=True)
class Retire:
    """A draining actor has nothing left and gets nothing more; told once."""

    actor: int


Action = Decode | Run | Flush | Keep | Release | GiveUp | Retire
