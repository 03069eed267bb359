"""How many actors each pool should have: as many as its backlog needs, within limits.

Pure policy, evaluated at intervals. For a pool of n actors:

    busy        grow to backlog / HORIZON_S actors, which finish the backlog in HORIZON_S, but at
                most to 2n at once; to 2n if the queue is full, because the backlog behind a full
                queue is not visible
    not busy    shrink to as many actors as would be busy for three quarters of their time

The *backlog* of a pool is the time that one actor would need for all images that are waiting for
it or inside it, and for the share of the images further up that recently came so far.
"""

import math
from dataclasses import dataclass, field

__all__ = ["HORIZON_S", "ActorRange", "Autoscaler", "PoolMetrics"]

HORIZON_S = 30.0
_BUSY = 0.85
_TARGET_BUSY = 0.75
_DECAY = 0.5  # weight of the past at each new measurement


@dataclass(frozen=True, slots=True)
class ActorRange:
    """Fewest and most actors of a pool."""

    fewest: int
    most: int


@dataclass(frozen=True, slots=True)
class PoolMetrics:
    """Measurements of a pool since the last evaluation.

    Attributes:
        num_actors: started, and not about to leave.
        num_ready: of those, up.
        is_starting: some of the others are expected to be up soon.
        is_full: its queue has hardly any room left.
        num_calls: in flight.
        num_images: waiting for it or inside it.
        busy_s: total working time of all its actors.
        num_done: images answered or forwarded.
        num_forwarded: of those, forwarded.
    """

    num_actors: int
    num_ready: int
    is_starting: bool
    is_full: bool
    num_calls: int
    num_images: int
    busy_s: float
    num_done: int
    num_forwarded: int


@dataclass(slots=True)
class _History:
    """Decayed sums of a pool's metrics; `ready_s` is the time its actors were up."""

    busy_s: float = 0.0
    ready_s: float = 0.0
    num_done: float = 0.0
    num_forwarded: float = 0.0

    def add(self, metrics: PoolMetrics, elapsed_s: float) -> None:
        self.busy_s = _DECAY * self.busy_s + metrics.busy_s
        self.ready_s = _DECAY * self.ready_s + metrics.num_ready * elapsed_s
        self.num_done = _DECAY * self.num_done + metrics.num_done
        self.num_forwarded = _DECAY * self.num_forwarded + metrics.num_forwarded

    @property
    def seconds_per_image(self) -> float:
        return self.busy_s / self.num_done if self.num_done else 0.0

    @property
    def share_busy(self) -> float:
        return self.busy_s / self.ready_s if self.ready_s else 0.0

    @property
    def share_forwarded(self) -> float:
        return self.num_forwarded / self.num_done if self.num_done else 0.0


@dataclass(slots=True)
class Autoscaler:
    """Target sizes of all pools.

    Args:
        ranges: limits of each pool.
    """

    ranges: tuple[ActorRange, ...]
    _history: list[_History] = field(init=False)

    def __post_init__(self) -> None:
        """Starts without measurements."""
        self._history = [_History() for _ in self.ranges]

    def targets(self, metrics: list[PoolMetrics], elapsed_s: float) -> list[int]:
        """Actors that each pool should have.

        Args:
            metrics: of each pool, since the last call.
            elapsed_s: since the last call.
        """
        targets = []
        num_coming = 0.0
        for limits, history, pool in zip(self.ranges, self._history, metrics, strict=True):
            history.add(pool, elapsed_s)
            num_images = pool.num_images + num_coming
            num_coming = num_images * history.share_forwarded
            target = _target(pool, num_images * history.seconds_per_image, history.share_busy)
            targets.append(min(limits.most, max(limits.fewest, target)))
        return targets


def _target(pool: PoolMetrics, backlog_s: float, share_busy: float) -> int:
    current = pool.num_actors
    if pool.is_starting:  # they will change what is measured
        return current
    if pool.num_calls and not pool.num_done:  # calls take longer than the interval
        return current
    needed = math.ceil(backlog_s / HORIZON_S)
    if share_busy >= _BUSY:
        if pool.num_ready < current:  # the cluster has no room for more
            return current
        return 2 * current if pool.is_full else min(2 * current, max(current, needed))
    if needed >= current:  # little was done, but much is coming
        return current
    return min(current, max(needed, math.ceil(share_busy * pool.num_ready / _TARGET_BUSY)))
