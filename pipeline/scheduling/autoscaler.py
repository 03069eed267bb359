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
from dataclasses import dataclass

import numpy as np

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


class Autoscaler:
    """Target sizes of all pools.

    Args:
        ranges: limits of each pool.
    """

    def __init__(self, ranges: tuple[ActorRange, ...]) -> None:
        self._ranges = ranges
        # Of each pool, decayed: busy seconds, seconds that actors were up, images done, forwarded.
        self._sums = np.zeros((len(ranges), 4))

    def targets(self, metrics: list[PoolMetrics], elapsed_s: float) -> list[int]:
        """Actors that each pool should have.

        Args:
            metrics: of each pool, since the last call.
            elapsed_s: since the last call.
        """
        self._sums *= _DECAY
        self._sums += [
            (pool.busy_s, pool.num_ready * elapsed_s, pool.num_done, pool.num_forwarded)
            for pool in metrics
        ]
        targets = []
        num_coming = 0.0
        for limits, sums, pool in zip(self._ranges, self._sums.tolist(), metrics, strict=True):
            busy_s, ready_s, num_done, num_forwarded = sums
            num_images = pool.num_images + num_coming
            num_coming = num_images * _ratio(num_forwarded, num_done)
            backlog_s = num_images * _ratio(busy_s, num_done)
            target = _target(pool, backlog_s, _ratio(busy_s, ready_s))
            targets.append(min(limits.most, max(limits.fewest, target)))
        return targets


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


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
