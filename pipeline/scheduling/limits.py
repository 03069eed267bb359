"""What the scheduler may use: pools, lengths, and bytes by queue."""

from dataclasses import dataclass

__all__ = ["DECODERS", "Limits", "Pool"]

DECODERS = -1
"""Stands for a pool's number where decoders are meant."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A range of stages that the same actors run.

    Attributes:
        first_stage: from 1.
        last_stage: inclusive.
        bytes_per_image: of what an image brings along when it comes here, at most.
        queue_bytes: of all that waits for this pool or is held by it; None for an equal share of
            what the other pools leave of the budget.
    """

    first_stage: int
    last_stage: int
    bytes_per_image: int
    queue_bytes: int | None = None

    def __str__(self) -> str:
        one = self.first_stage == self.last_stage
        return str(self.first_stage) if one else f"{self.first_stage}-{self.last_stage}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the scheduler may use.

    Attributes:
        block_length: images decoded together.
        budget_bytes: of all that is in flight. Every queue has its part of it, so that what comes
            in at the front can never keep what is hard from going on to the next pool.
        pools: in the order of their stages.
        calls_in_flight: per actor; two keep it busy while the next arrives.
        max_attempts: after so many losses with an actor, images are run alone.
    """

    block_length: int
    budget_bytes: int
    pools: tuple[Pool, ...]
    calls_in_flight: int = 2
    max_attempts: int = 3

    def __post_init__(self) -> None:
        """Checks the pools.

        Raises:
            ValueError: the stages have gaps, or the queues take more than the budget.
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
                f"queue_bytes: {fixed} in all, but budget_bytes is {self.budget_bytes}"
            )

    @property
    def queue_bytes(self) -> tuple[int, ...]:
        """Bytes of each pool's queue."""
        given = [pool.queue_bytes for pool in self.pools]
        left = self.budget_bytes - sum(size for size in given if size is not None)
        share = left // max(1, given.count(None))
        return tuple(share if size is None else size for size in given)
