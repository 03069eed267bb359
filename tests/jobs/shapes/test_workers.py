"""Results come in order, and no more is taken in than is about to be worked on."""

from collections.abc import Iterator

import pytest

from jobs.shapes.workers import in_chunks, in_order


def counted(taken: list[int], num: int) -> Iterator[list[int]]:
    for number in range(num):
        taken.append(number)
        yield [number, number]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stream_is_worked_through_in_order_and_only_a_little_ahead(processes: int) -> None:
    taken: list[int] = []
    for number, result in enumerate(in_order(sum, counted(taken, 12), processes)):
        assert result == 2 * number
        assert len(taken) <= number + 1 + 2 * processes
    assert taken == list(range(12))


def test_chunks_cover_all_items() -> None:
    assert list(in_chunks(sum, range(10), 4)) == [0 + 1 + 2 + 3, 4 + 5 + 6 + 7, 8 + 9]
    assert list(in_chunks(sum, range(0), 4)) == []
    with pytest.raises(ValueError, match="at least 1"):
        list(in_chunks(sum, range(10), 4, processes=0))


def test_an_error_in_the_work_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(reciprocal, [1, 2, 0, 3], 2))


def reciprocal(number: int) -> float:
    return 1 / number
