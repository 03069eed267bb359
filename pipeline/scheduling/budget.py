"""Bytes by queue: what is there, and what is kept for what calls in flight may forward."""

from pipeline.scheduling.limits import Limits

__all__ = ["Budget"]


class Budget:
    """The queues' bytes; no queue passes its limit, except by one object that is larger than it.

    Args:
        limits: of all queues.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits.queue_bytes
        self._used = [0] * len(self._limits)
        self._kept = [0] * len(self._limits)
        self._kept_for: dict[int, int] = {}

    @property
    def total(self) -> int:
        """Bytes of all objects, and of the room for those that are being decoded."""
        return sum(self._used)

    def used(self, pool: int) -> int:
        """Bytes of one queue."""
        return self._used[pool]

    def kept(self, pool: int) -> int:
        """Bytes that calls in flight may yet add to one queue."""
        return self._kept[pool]

    def add(self, pool: int, num_bytes: int) -> None:
        """An object comes (or, with a negative number, goes)."""
        self._used[pool] += num_bytes
        assert self._used[pool] >= 0, f"queue {pool}: more bytes released than there were"

    def has_room(self, pool: int, num_bytes: int, actor: int | None = None) -> bool:
        """Whether so much may be added, or kept for an actor in place of what is kept now.

        What is larger than the whole queue still has to pass, alone.
        """
        taken = self._used[pool] + self._kept[pool]
        own = 0 if actor is None else self._kept_for.get(actor, 0)
        return not taken or taken - own + num_bytes <= self._limits[pool]

    def keep(self, pool: int, num_bytes: int, actor: int) -> None:
        """Keeps room for what an actor may forward, in place of what was kept for it before."""
        self._kept[pool] += num_bytes - self._kept_for.pop(actor, 0)
        if num_bytes:
            self._kept_for[actor] = num_bytes
