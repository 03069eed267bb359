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
        num_quarantined: of those, kept for suspect parts.
        num_calls: in flight.
        images_waiting: for an actor; quarantined_slices not counted.
        quarantined_images: waiting to be run alone.
        images_held: by actors.
        queue_bytes: of all of these.
        kept_bytes: that calls in flight of the pool before may add.
    """

    num_actors: int
    num_ready: int
    num_quarantined: int
    num_calls: int
    images_waiting: int
    quarantined_images: int
    images_held: int
    queue_bytes: int
    kept_bytes: int


def load_of(state: State, pool: int) -> PoolLoad:
    """The load of a pool, or of `DECODERS`, whose bytes count for the first queue."""
    pool_state, budget = state.pool_state(pool), state.budget
    is_pool = pool != DECODERS
    return PoolLoad(
        num_actors=len(pool_state.actors),
        num_ready=pool_state.num_ready,
        num_quarantined=pool_state.num_quarantined,
        num_calls=pool_state.num_calls,
        images_waiting=pool_state.waiting.num_images,
        quarantined_images=pool_state.quarantined_slices.num_images,
        images_held=pool_state.num_held,
        queue_bytes=budget.used(pool) if is_pool else 0,
        kept_bytes=budget.kept(pool) if is_pool else 0,
    )
