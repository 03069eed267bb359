"""Listing in a thread."""

import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.errors import StorageFailedError
from pipeline.records import ImageRecord
from pipeline.sources.listing import listed_ahead
from pipeline.sources.sharding import Shard


def shard(number: int) -> Shard:
    return Shard(f"{number}", (ImageRecord(f"{number}", "file:///x", 1),))


def test_all_shards_come_in_their_order() -> None:
    listed = listed_ahead(map(shard, range(50)))
    assert [item.name for item in listed if item is not None] == [str(n) for n in range(50)]


def test_whoever_asks_is_not_held_up_by_a_slow_listing() -> None:
    go_on = threading.Event()

    def slow() -> Iterator[Shard]:
        yield shard(0)
        assert go_on.wait(30)
        yield shard(1)

    listed = listed_ahead(slow())
    assert next(item for item in listed if item is not None).name == "0"
    started = time.monotonic()
    assert next(listed) is None
    assert time.monotonic() - started < 10
    go_on.set()
    assert [item.name for item in listed if item is not None] == ["1"]


def test_only_a_few_shards_are_held() -> None:
    taken: list[int] = []

    def counted() -> Iterator[Shard]:
        for number in range(1000):
            taken.append(number)
            yield shard(number)

    listed = listed_ahead(counted())
    assert next(item for item in listed if item is not None).name == "0"
    time.sleep(0.3)
    assert len(taken) <= 5
    listed.close()  # type: ignore[attr-defined]


def test_an_error_of_the_listing_is_raised_where_the_shards_are_used() -> None:
    def failing() -> Iterator[Shard]:
        yield shard(0)
        raise StorageFailedError("storage: it is down")

    listed = listed_ahead(failing())
    assert next(item for item in listed if item is not None).name == "0"
    with pytest.raises(StorageFailedError, match="it is down"):
        list(listed)
