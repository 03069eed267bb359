"""Results come in order, and no more items are consumed than the processes are about to need."""

from collections.abc import Iterator

import pytest

from jobs.parallel import map_in_order


def counted(consumed: list[int], num: int) -> Iterator[list[int]]:
    for number in range(num):
        consumed.append(number)
        yield [number, number]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_stream_is_mapped_in_order_and_consumed_only_a_little_ahead(processes: int) -> None:
    consumed: list[int] = []
    for number, result in enumerate(map_in_order(sum, counted(consumed, 12), processes)):
        assert result == 2 * number
        assert len(consumed) <= number + 1 + 2 * processes
    assert consumed == list(range(12))


def test_no_items_give_no_results() -> None:
    assert list(map_in_order(sum, [])) == []


def test_a_number_of_processes_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"processes: must be at least 1 \(got 0\)"):
        list(map_in_order(sum, [[1]], processes=0))


def test_an_error_in_the_work_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_in_order(reciprocal, [1, 2, 0, 3], 2))


def reciprocal(number: int) -> float:
    return 1 / number
