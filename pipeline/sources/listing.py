"""Shards listed by a thread, so that a slow storage or a packed tar never stops the coordinator."""

import queue
import threading
from collections.abc import Iterator

from pipeline.sources.sharding import Shard

__all__ = ["listed_ahead"]

_SHARDS_AHEAD = 2
_ASK_S = 0.02
_STOP_S = 0.5


def listed_ahead(shards: Iterator[Shard]) -> Iterator[Shard | None]:
    """The same shards, taken in a thread; None while the next is not there yet.

    Args:
        shards: what they raise is raised here.
    """
    found: queue.Queue[Shard | BaseException | None] = queue.Queue(_SHARDS_AHEAD)
    stopped = threading.Event()

    def put(item: Shard | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                found.put(item, timeout=_STOP_S)
            except queue.Full:
                continue
            return

    def take() -> None:
        try:
            for shard in shards:
                put(shard)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # noqa: BLE001 - raised where the shards are used
            put(error)

    threading.Thread(target=take, daemon=True, name="list-shards").start()
    try:
        while True:
            try:
                item = found.get(timeout=_ASK_S)
            except queue.Empty:
                yield None
                continue
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
