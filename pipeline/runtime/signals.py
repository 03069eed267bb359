"""Ctrl-C and SIGTERM at a safe point: between two steps, never in the middle of the accounting.

SIGTERM is what systemd, containers, batch systems and `timeout` send; Ray has a handler of its own
for it, which aborts, so that ours is set once Ray has started.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["SIGNALS", "deferred_interrupt", "interrupt_on_term"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def interrupt_on_term() -> None:
    """Lets SIGTERM interrupt like Ctrl-C where nobody defers it; from the main thread only."""

    def handle(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handle)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Notes the first of either signal, to be asked for; a second one raises at once.

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
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield lambda: noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
