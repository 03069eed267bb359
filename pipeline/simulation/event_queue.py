"""Virtual time: callbacks in the order in which they are due."""

import heapq
from collections.abc import Callable

__all__ = ["EventQueue"]


class EventQueue:
    """Callbacks by time; those due at the same time run in the order of their arrival.

    Attributes:
        now_s: virtual time.
        num_work: waiting callbacks that are work; without any, unfinished work is a deadlock.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self.num_work = 0
        self._entries: list[tuple[float, int, bool, Callable[[], None]]] = []
        self._num_entries = 0

    def after(self, delay_s: float, call: Callable[[], None], is_work: bool = True) -> None:
        """Schedules a callback.

        Args:
            delay_s: from now.
            call: the callback.
            is_work: False for events that recur indefinitely, such as faults.
        """
        self._num_entries += 1
        self.num_work += is_work
        heapq.heappush(self._entries, (self.now_s + delay_s, self._num_entries, is_work, call))

    def run_next(self) -> None:
        """Advances the clock to the next callback and runs it."""
        self.now_s, _, is_work, call = heapq.heappop(self._entries)
        self.num_work -= is_work
        call()
