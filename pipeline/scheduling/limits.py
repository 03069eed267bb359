"""The scheduler's configuration: pools, block length, and bytes of each queue."""

from dataclasses import dataclass

__all__ = ["DECODERS", "Limits", "Pool"]

DECODERS = -1
"""The position of the decoders, which come before the first pool."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A range of stages that the same actors run.

    Attributes:
        first_stage: from 1.
        last_stage: inclusive.
        bytes_per_image: upper bound of an image's data when it enters the pool.
        queue_bytes: limit for all that waits for the pool or is held by it; None for an equal share
            of what the other pools leave of the budget.
    """

    first_stage: int
    last_stage: int
    bytes_per_image: int
    queue_bytes: int | None = None

    def __str__(self) -> str:
        is_single = self.first_stage == self.last_stage
        return str(self.first_stage) if is_single else f"{self.first_stage}-{self.last_stage}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the scheduler may use.

    Attributes:
        block_length: images decoded together.
        budget_bytes: limit for all data in flight. Each queue has a fixed part of it, so new
            images can never block hard ones from moving on.
        pools: in the order of their stages.
        calls_in_flight: per actor; with two, the next input arrives while one is processed.
        max_attempts: losses of an actor after which the images it held are quarantined.
    """

    block_length: int
    budget_bytes: int
    pools: tuple[Pool, ...]
    calls_in_flight: int = 2
    max_attempts: int = 3

    def __post_init__(self) -> None:
        """Checks the pools.

        Raises:
            ValueError: there are no pools, the stages have gaps, or the queues exceed the budget.
        """
        if not self.pools:
            raise ValueError("pools: at least one is needed")
        expected = 1
        for pool in self.pools:
            if pool.first_stage != expected or pool.last_stage < expected:
                raise ValueError(f"pools: stage {expected} must come next (got {pool})")
            expected = pool.last_stage + 1
        fixed = sum(pool.queue_bytes or 0 for pool in self.pools)
        if fixed > self.budget_bytes:
            raise ValueError(
                f"queue_bytes: must add up to at most budget_bytes={self.budget_bytes} "
                f"(got {fixed})"
            )

    @property
    def queue_bytes(self) -> tuple[int, ...]:
        """Limit of each pool's queue."""
        given = [pool.queue_bytes for pool in self.pools]
        left = self.budget_bytes - sum(size for size in given if size is not None)
        share = left // max(1, given.count(None))
        return tuple(share if size is None else size for size in given)
