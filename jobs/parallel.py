"""Maps work over processes, with results in order and a bounded number of items in memory.

Workers are spawned, not forked, so they inherit no locks, threads, Ray or torch. A script that
calls this needs the usual `if __name__ == "__main__"` guard.
"""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, islice
from typing import TypeVar

__all__ = ["map_in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(
    work: Callable[[Item], Result], items: Iterable[Item], processes: int | None = None
) -> Iterator[Result]:
    """Yields `work(item)` for each item, in order.

    At most two items per process are pending or finished but not consumed, so an endless stream
    needs bounded memory.

    Args:
        work: picklable; its result must not depend on the process.
        items: consumed as results are requested.
        processes: None for one per core. With one process or item, the work runs in this process.

    Raises:
        ValueError: `processes` is below 1.
    """
    if processes is not None and processes < 1:
        raise ValueError(f"processes: must be at least 1 (got {processes})")
    stream = iter(items)
    first = list(islice(stream, processes or os.cpu_count() or 1))
    stream = chain(first, stream)
    if len(first) <= 1:
        yield from map(work, stream)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(len(first), mp_context=context)
    try:
        pending: deque[Future[Result]] = deque(
            pool.submit(work, item) for item in islice(stream, 2 * len(first))
        )
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(work, item) for item in islice(stream, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
