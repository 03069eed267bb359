"""Which actors a run has, by kind: decoders, one kind for each pool, and the writer."""

from dataclasses import dataclass

from pipeline.runtime.supervisor import ActorKind

__all__ = ["ActorPoolSpecs", "PoolSpec"]


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """Actors of one kind, and how many of them.

    Attributes:
        kind: of them.
        fewest: that there are from the start.
        most: that there may be.
    """

    kind: ActorKind
    fewest: int = 1
    most: int = 1


@dataclass(frozen=True, slots=True)
class ActorPoolSpecs:
    """All actors of a run.

    Attributes:
        decoders: from files to pixels.
        pools: in the order of their stages.
        writer: from answers to Parquet files.
    """

    decoders: PoolSpec
    pools: tuple[PoolSpec, ...]
    writer: ActorKind
