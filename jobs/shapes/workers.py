"""Spreads work over the cores, with results in order and a bounded number of pieces in memory.

Workers are spawned, not forked, so they hold nothing of the parent (no locks, threads, Ray or
torch), and a script that calls this needs the usual `if __name__ == "__main__"` guard.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from typing import TypeVar

__all__ = ["in_chunks", "in_order"]

Item = TypeVar("Item")
Piece = TypeVar("Piece")
Result = TypeVar("Result")


def in_chunks(
    work: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    chunk: int,
    processes: int | None = None,
) -> Iterator[Result]:
    """Yields `work(items[start:stop])` for each chunk of the items, in order; see `in_order`.

    Args:
        work: Picklable; must not depend on which process runs it.
        items: What there is to do; a `range` costs nothing to send.
        chunk: Items a call, at least 1.
        processes: Processes to use; None for one a core.

    Raises:
        ValueError: If `processes` is below 1.
    """
    pieces = (items[start : start + chunk] for start in range(0, len(items), chunk))
    return in_order(work, pieces, processes)


def in_order(
    work: Callable[[Piece], Result], pieces: Iterable[Piece], processes: int | None = None
) -> Iterator[Result]:
    """Yields `work(piece)` for each piece, in order.

    At most two pieces a process are under way or waiting to be taken, so that a stream of any
    length takes a bounded amount of memory.

    Args:
        work: Picklable; must not depend on which process runs it.
        pieces: Taken one by one, as results are asked for.
        processes: Processes to use; None for one a core. With one, or a single piece, the work is
            done in this process.

    Raises:
        ValueError: If `processes` is below 1.
    """
    if processes is not None and processes < 1:
        raise ValueError(f"processes must be at least 1, got {processes}")
    stream = iter(pieces)
    first = list(islice(stream, processes or os.cpu_count() or 1))
    stream = chain(first, stream)
    if len(first) <= 1:
        yield from map(work, stream)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(len(first), mp_context=context)
    try:
        running: deque[Future[Result]] = deque(
            pool.submit(work, piece) for piece in islice(stream, 2 * len(first))
        )
        while running:
            result = running.popleft().result()
            running.extend(pool.submit(work, piece) for piece in islice(stream, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
