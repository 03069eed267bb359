"""Handles Ctrl-C and SIGTERM between two steps of a run, never in the middle of one.

systemd, containers, batch systems and `timeout` send SIGTERM. Ray's own handler aborts the process,
so this one is set after Ray has started.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["SIGNALS", "deferred_interrupt", "interrupt_on_term"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def interrupt_on_term() -> None:
    """Makes SIGTERM raise KeyboardInterrupt; does nothing outside the main thread."""

    def handle(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handle)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Defers the first signal, and raises KeyboardInterrupt at the second.

    Yields a function that returns whether a signal has arrived. Outside the main thread, signals
    are not deferred.
    """
    noted = False

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield lambda: noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
