"""How much a pool has before it: for whoever sets the pools' sizes, and for checks."""

from dataclasses import dataclass

from pipeline.scheduling.limits import DECODERS
from pipeline.scheduling.state import State

__all__ = ["PoolLoad", "load_of"]


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """How much a pool has before it.

    Attributes:
        num_actors: added and not removed.
        num_ready: of those, up.
        num_apart: of those, kept for suspect parts.
        num_calls: in flight.
        images_waiting: for an actor; suspects not counted.
        images_suspect: waiting to be run alone.
        images_held: by actors.
        queue_bytes: of all of these.
        kept_bytes: that calls in flight of the pool before may add.
    """

    num_actors: int
    num_ready: int
    num_apart: int
    num_calls: int
    images_waiting: int
    images_suspect: int
    images_held: int
    queue_bytes: int
    kept_bytes: int


def load_of(state: State, pool: int) -> PoolLoad:
    """The load of a pool, or of `DECODERS`, whose bytes count for the first queue."""
    crew, budget = state.crew(pool), state.budget
    is_pool = pool != DECODERS
    return PoolLoad(
        num_actors=len(crew.actors),
        num_ready=crew.num_ready,
        num_apart=crew.num_apart,
        num_calls=crew.num_calls,
        images_waiting=crew.waiting.num_images,
        images_suspect=crew.suspects.num_images,
        images_held=crew.num_held,
        queue_bytes=budget.used(pool) if is_pool else 0,
        kept_bytes=budget.kept(pool) if is_pool else 0,
    )
