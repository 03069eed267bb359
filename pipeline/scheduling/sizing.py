"""How many actors each pool should have: as many as its backlog asks for, within limits.

Pure policy, asked from time to time. Two rules, for a pool of n actors:

    busy        backlog / HORIZON_S actors would have it done in that time: up to so many, at most
                twice n at once; twice n if its queue is full, because then the backlog is longer
                than can be seen
    not busy    as many as would be busy for three quarters of their time

*Backlog* of a pool is the time that one actor would need for all images on their way to it: those
that wait for it or are inside it, and of those further up the share that has come so far lately.
Knows neither Ray nor a clock.
"""

import math
from dataclasses import dataclass, field

__all__ = ["HORIZON_S", "PoolMetrics", "PoolSizer", "Size"]

HORIZON_S = 30.0
_BUSY = 0.85
_WANTED = 0.75
_MEMORY = 0.5  # share of an earlier look that still counts at the next one


@dataclass(frozen=True, slots=True)
class Size:
    """Limits of a pool: fewest and most actors."""

    fewest: int
    most: int


@dataclass(frozen=True, slots=True)
class PoolMetrics:
    """What was seen of a pool since the last look.

    Attributes:
        num_actors: started, and not about to go.
        num_ready: of those, up.
        is_starting: some of the others are expected soon.
        is_full: its queue has hardly any room left.
        num_calls: in flight.
        images: waiting for it or inside it.
        busy_s: that all its actors worked.
        num_done: images answered or forwarded.
        num_forwarded: of those, forwarded.
    """

    num_actors: int
    num_ready: int
    is_starting: bool
    is_full: bool
    num_calls: int
    images: int
    busy_s: float
    num_done: int
    num_forwarded: int


@dataclass(slots=True)
class _Memory:
    """Decayed sums of a pool; `ready_s` is the time that its actors had."""

    busy_s: float = 0.0
    ready_s: float = 0.0
    num_done: float = 0.0
    num_forwarded: float = 0.0

    def add(self, seen: PoolMetrics, elapsed_s: float) -> None:
        self.busy_s = _MEMORY * self.busy_s + seen.busy_s
        self.ready_s = _MEMORY * self.ready_s + seen.num_ready * elapsed_s
        self.num_done = _MEMORY * self.num_done + seen.num_done
        self.num_forwarded = _MEMORY * self.num_forwarded + seen.num_forwarded

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
class PoolSizer:
    """Sizes of all pools.

    Args:
        sizes: limits of each pool.
    """

    sizes: tuple[Size, ...]
    _memory: list[_Memory] = field(init=False)

    def __post_init__(self) -> None:
        """Remembers nothing yet."""
        self._memory = [_Memory() for _ in self.sizes]

    def targets(self, seen: list[PoolMetrics], elapsed_s: float) -> list[int]:
        """Actors that each pool should have.

        Args:
            seen: of each pool, since the last call.
            elapsed_s: since the last call.
        """
        targets = []
        on_their_way = 0.0
        for size, memory, pool in zip(self.sizes, self._memory, seen, strict=True):
            memory.add(pool, elapsed_s)
            images = pool.images + on_their_way
            on_their_way = images * memory.share_forwarded
            target = _target(pool, images * memory.seconds_per_image, memory.share_busy)
            targets.append(min(size.most, max(size.fewest, target)))
        return targets


def _target(pool: PoolMetrics, backlog_s: float, share_busy: float) -> int:
    now = pool.num_actors
    if pool.is_starting:  # those that start now will change what is seen
        return now
    if pool.num_calls and not pool.num_done:  # calls that take longer than from look to look
        return now
    needed = math.ceil(backlog_s / HORIZON_S)
    if share_busy >= _BUSY:
        if pool.num_ready < now:  # the cluster has no room for more
            return now
        return 2 * now if pool.is_full else min(2 * now, max(now, needed))
    if needed >= now:  # little was done, but much is coming
        return now
    return min(now, max(needed, math.ceil(share_busy * pool.num_ready / _WANTED)))
