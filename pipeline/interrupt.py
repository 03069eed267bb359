"""Ctrl-C at a safe point: between two steps, never in the middle of the accounting."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["deferred_interrupt"]


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Notes the first interrupt, to be asked for; a second one raises at once.

    Only the main thread can handle signals; elsewhere interrupts stay as they are.
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
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, before)
