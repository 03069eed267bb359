"""What will happen when, in virtual time."""

import heapq
from collections.abc import Callable

__all__ = ["Agenda"]


class Agenda:
    """Entries in order of time; of two at the same time the older comes first."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.num_work = 0
        self._entries: list[tuple[float, int, bool, Callable[[], None]]] = []
        self._num_entries = 0

    def after(self, delay_s: float, call: Callable[[], None], is_work: bool = True) -> None:
        """Calls back later.

        Args:
            delay_s: from now.
            call: what to call.
            is_work: False for what goes on for ever, like faults: waiting for it is a deadlock.
        """
        self._num_entries += 1
        self.num_work += is_work
        heapq.heappush(self._entries, (self.now_s + delay_s, self._num_entries, is_work, call))

    def step(self) -> None:
        """Moves the clock to the next entry and calls it."""
        self.now_s, _, is_work, call = heapq.heappop(self._entries)
        self.num_work -= is_work
        call()
