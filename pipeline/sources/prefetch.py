"""Streams of pages read ahead by threads, and still one after the other."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

__all__ = ["in_pages", "pages_in_order"]

T = TypeVar("T")


def pages_in_order(
    streams: Iterable[Callable[[], Iterator[list[T]]]], num_ahead: int
) -> Iterator[list[T]]:
    """The pages of all streams, those of the first stream first.

    At any time `1 + num_ahead` streams are open, and of each one page is on its way or waits. What
    a stream raises is raised in its place.

    Args:
        streams: each opened, and read, by threads; taken as they are needed.
        num_ahead: streams that are begun before their turn.
    """
    pool = ThreadPoolExecutor(1 + num_ahead, "list")
    waiting = iter(streams)
    begun: deque[tuple[_Stream[T], Future[list[T] | None]]] = deque()
    try:
        while True:
            for open_stream in islice(waiting, 1 + num_ahead - len(begun)):
                stream = _Stream(open_stream)
                begun.append((stream, pool.submit(stream.next_page)))
            if not begun:
                return
            stream, coming = begun[0]
            page = coming.result()
            if page is None:
                begun.popleft()
            else:
                begun[0] = stream, pool.submit(stream.next_page)
                yield page
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


class _Stream(Generic[T]):
    """One stream; its pages are asked for one after the other, by whichever thread is free."""

    def __init__(self, open_stream: Callable[[], Iterator[list[T]]]) -> None:
        self._open_stream = open_stream
        self._pages: Iterator[list[T]] | None = None

    def next_page(self) -> list[T] | None:
        if self._pages is None:
            self._pages = self._open_stream()
        return next(self._pages, None)


def in_pages(items: Iterable[T], length: int) -> Iterator[list[T]]:
    """Items by the list."""
    remaining = iter(items)
    while page := list(islice(remaining, length)):
        yield page
