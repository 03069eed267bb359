"""Listings that threads read ahead."""

from collections.abc import Iterator

import pytest

from pipeline.errors import StorageFailedError
from pipeline.sources.read_ahead import concatenate


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
