"""Listings read ahead by threads, in order."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ["concatenate"]

T = TypeVar("T")


def concatenate(
    streams: Iterable[Iterator[T]], num_ahead: int, page_length: int = 1000
) -> Iterator[T]:
    """The items of all streams, one stream after the other.

    Threads read one page ahead of each of the first `1 + num_ahead` streams. An error of a stream
    is raised in its place.

    Args:
        streams: lazy; taken as they are needed.
        num_ahead: streams that are started before their turn.
        page_length: items that are handed over at a time.
    """
    remaining = iter(streams)
    started: deque[tuple[Iterator[T], Future[list[T]]]] = deque()
    pool = ThreadPoolExecutor(1 + num_ahead, "list")

    def next_page(stream: Iterator[T]) -> list[T]:
        return list(islice(stream, page_length))

    try:
        while True:
            for stream in islice(remaining, 1 + num_ahead - len(started)):
                started.append((stream, pool.submit(next_page, stream)))
            if not started:
                return
            stream, page = started.popleft()
            items = page.result()
            if items:
                started.appendleft((stream, pool.submit(next_page, stream)))
                yield from items
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
