"""Listings that threads read ahead."""

import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.errors import StorageFailedError
from pipeline.records import ImageRecord
from pipeline.sources.read_ahead import concatenate, poll
from pipeline.sources.sharding import Shard


def shard(number: int) -> Shard:
    return Shard(f"{number}", (ImageRecord(f"{number}", "file:///x", 1),))


def test_all_shards_come_in_their_order() -> None:
    listed = poll(map(shard, range(50)))
    assert [item.name for item in listed if item is not None] == [str(n) for n in range(50)]


def test_a_slow_listing_does_not_block_the_caller() -> None:
    go_on = threading.Event()

    def slow() -> Iterator[Shard]:
        yield shard(0)
        assert go_on.wait(30)
        yield shard(1)

    listed = poll(slow())
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

    listed = poll(counted())
    assert next(item for item in listed if item is not None).name == "0"
    time.sleep(0.3)
    assert len(taken) <= 5
    listed.close()  # type: ignore[attr-defined]


def test_an_error_of_the_listing_is_raised_where_the_shards_are_used() -> None:
    def failing() -> Iterator[Shard]:
        yield shard(0)
        raise StorageFailedError("storage: it is down")

    listed = poll(failing())
    assert next(item for item in listed if item is not None).name == "0"
    with pytest.raises(StorageFailedError, match="it is down"):
        list(listed)


def test_streams_follow_each_other_and_a_few_are_read_ahead() -> None:
    started: list[int] = []

    def stream(number: int) -> Iterator[int]:
        started.append(number)
        yield from range(10 * number, 10 * number + 10)

    items = concatenate(map(stream, range(20)), num_ahead=2, page_length=4)
    assert next(items) == 0
    assert len(started) <= 3
    assert [0, *items] == list(range(200))


def test_an_error_of_a_stream_is_raised_in_its_place() -> None:
    def failing() -> Iterator[int]:
        raise StorageFailedError("storage: it is down")
        yield 0

    items = concatenate([iter([1, 2]), failing(), iter([3])], num_ahead=2)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(StorageFailedError, match="it is down"):
        next(items)
