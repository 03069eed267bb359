"""Spreads numbered work over the cores, with results in order.

Workers are spawned, not forked, so they hold nothing of the parent (no locks, threads, Ray or
torch), and a script that calls this needs the usual `if __name__ == "__main__"` guard.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

__all__ = ["in_chunks"]

Result = TypeVar("Result")


def in_chunks(
    work: Callable[[int, int], Result], total: int, chunk: int, processes: int | None
) -> Iterator[Result]:
    """Yields `work(start, stop)` for each chunk of 0..total-1, in order.

    Args:
        work: Picklable; must not depend on which process runs it.
        total: Number of items.
        chunk: Items a call, at least 1.
        processes: Processes to use; None for one a core. With one, or a single chunk, the work is
            done in this process.

    Raises:
        ValueError: If `processes` is below 1.
    """
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    starts = range(0, total, chunk)
    stops = [min(start + chunk, total) for start in starts]
    num_workers = min(processes or os.cpu_count() or 1, len(starts))
    if num_workers <= 1:
        yield from map(work, starts, stops)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
        yield from pool.map(work, starts, stops)
