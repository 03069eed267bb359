"""Bytes of each queue: objects that exist, and room reserved for what running calls may forward."""

from pipeline.scheduling.limits import Limits

__all__ = ["Budget"]


class Budget:
    """Accounts for the bytes of all queues.

    No queue exceeds its limit, except by a single object that is larger than the limit.

    Args:
        limits: bytes of each queue.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits.queue_bytes
        self._used = [0] * len(self._limits)
        self._reserved = [0] * len(self._limits)
        self._reserved_for: dict[int, int] = {}

    @property
    def total_used(self) -> int:
        """Bytes of all objects, those being decoded included."""
        return sum(self._used)

    def used(self, pool: int) -> int:
        """Bytes of the objects of one queue."""
        return self._used[pool]

    def reserved(self, pool: int) -> int:
        """Bytes that running calls may yet add to one queue."""
        return self._reserved[pool]

    def add(self, pool: int, num_bytes: int) -> None:
        """Adds an object to a queue, or removes one if `num_bytes` is negative."""
        self._used[pool] += num_bytes
        assert self._used[pool] >= 0, f"queue {pool}: more bytes released than added"

    def has_room(self, pool: int, num_bytes: int, actor: int | None = None) -> bool:
        """Whether an object may be added, or reserved for an actor instead of its reservation.

        An empty queue has room for any object: one larger than the limit must pass, too.
        """
        taken = self._used[pool] + self._reserved[pool]
        own = 0 if actor is None else self._reserved_for.get(actor, 0)
        return not taken or taken - own + num_bytes <= self._limits[pool]

    def reserve(self, pool: int, num_bytes: int, actor: int) -> None:
        """Replaces an actor's reservation in the queue that it forwards to."""
        self._reserved[pool] += num_bytes - self._reserved_for.pop(actor, 0)
        if num_bytes:
            self._reserved_for[actor] = num_bytes
