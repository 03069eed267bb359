from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cascade.staged_queue import StagedQueue


class Numbers(list[int]):
    """Rows that are just numbers."""

    def cut(self, start: int, stop: int) -> Self:
        return type(self)(self[start:stop])

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        return cls(number for part in parts for number in part)


def test_survivors_of_several_batches_are_joined_until_one_is_full() -> None:
    queue: StagedQueue[Numbers] = StagedQueue(num_stages=2, batch_size=4)
    queue.push(1, Numbers([1, 2]))
    assert queue.pop_full() is None
    queue.push(1, Numbers([3, 4, 5]))
    assert queue.pop_full() == (1, [1, 2, 3, 4])
    assert queue.waiting == (0, 1)


def test_the_deepest_full_batch_goes_first() -> None:
    queue: StagedQueue[Numbers] = StagedQueue(num_stages=3, batch_size=2)
    for stage in range(3):
        queue.push(stage, Numbers([10 * stage, 10 * stage + 1]))
    order = [queue.pop_full() for _ in range(3)]
    assert order == [(2, [20, 21]), (1, [10, 11]), (0, [0, 1])]


def test_of_partial_batches_the_shallowest_goes_first_since_it_may_fill_a_deeper_one() -> None:
    queue: StagedQueue[Numbers] = StagedQueue(num_stages=3, batch_size=4)
    queue.push(0, Numbers([1]))
    queue.push(2, Numbers([2, 3]))
    assert queue.pop_any() == (0, [1])
    assert queue.pop_any() == (2, [2, 3])
    assert queue.pop_any() is None


def test_a_batch_size_of_zero_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        StagedQueue[Numbers](num_stages=1, batch_size=0)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=40),
    st.integers(1, 7),
)
def test_what_goes_in_comes_out_once_and_in_order_of_its_stage(
    pushes: list[tuple[int, int]], batch_size: int
) -> None:
    queue: StagedQueue[Numbers] = StagedQueue(num_stages=3, batch_size=batch_size)
    expected: list[list[int]] = [[], [], []]
    number = 0
    for stage, count in pushes:
        rows = Numbers(range(number, number + count))
        number += count
        expected[stage] += rows
        queue.push(stage, rows)
    got: list[list[int]] = [[], [], []]
    while (batch := queue.pop_any()) is not None:
        stage, rows = batch
        assert 0 < len(rows) <= batch_size
        got[stage] += rows
    assert got == expected
    assert len(queue) == 0


def test_rows_that_cannot_be_joined_wait_again_in_their_order() -> None:
    class Stubborn(Numbers):
        joins = False

        @classmethod
        def join(cls, parts: list[Self]) -> Self:
            if not Stubborn.joins:
                raise MemoryError
            return super().join(parts)

    queue: StagedQueue[Stubborn] = StagedQueue(num_stages=1, batch_size=4)
    for number in range(0, 6, 2):
        queue.push(0, Stubborn([number, number + 1]))
    with pytest.raises(MemoryError):
        queue.pop_full()
    assert queue.waiting == (6,)
    Stubborn.joins = True
    assert queue.pop_full() == (0, [0, 1, 2, 3])
    assert queue.waiting == (2,)
