"""Spreads numbered work over the cores, with results in order.

Workers are spawned, not forked, so they hold nothing of the parent (no locks, threads, Ray or
torch), and a script that calls this needs the usual `if __name__ == "__main__"` guard.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

__all__ = ["in_chunks"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_chunks(
    work: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    chunk: int,
    processes: int | None = None,
) -> Iterator[Result]:
    """Yields `work(items[start:stop])` for each chunk of the items, in order.

    Args:
        work: Picklable; must not depend on which process runs it.
        items: What there is to do; a `range` costs nothing to send.
        chunk: Items a call, at least 1.
        processes: Processes to use; None for one a core. With one, or a single chunk, the work is
            done in this process.

    Raises:
        ValueError: If `processes` is below 1.
    """
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    pieces = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    num_workers = min(processes or os.cpu_count() or 1, len(pieces))
    if num_workers <= 1:
        yield from map(work, pieces)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
        yield from pool.map(work, pieces)
