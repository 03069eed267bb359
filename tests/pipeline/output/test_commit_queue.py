"""When results are committed: early, at a steady pace, and before too many wait."""

import numpy as np

from pipeline.output.commit_queue import CommitQueue
from pipeline.output.counts import Counts


def queue_with(num_images: int) -> CommitQueue:
    queue = CommitQueue(1)
    queue.add_answers("a table", {0: Counts(np.array([num_images]))})
    return queue


def test_the_first_results_are_committed_after_a_second() -> None:
    queue = queue_with(3)
    now_s = queue._started
    assert queue.take(now_s + 0.5, at_once=False) is None
    assert queue.take(now_s + 1.1, at_once=False) is not None


def test_the_pace_slows_down_to_half_a_minute_and_no_further() -> None:
    queue = CommitQueue(1)
    taken_s = []
    for tenth in range(36_000):
        queue.add_answers("a table", {0: Counts(np.array([1]))})
        if queue.take(queue._started + tenth / 10, at_once=False) is not None:
            queue.committed()
            taken_s.append(tenth / 10)
    gaps = np.diff(taken_s)
    assert taken_s[0] <= 1.1
    assert gaps.max() <= 30.2
    assert len(taken_s) < 250


def test_many_images_do_not_wait_for_the_clock() -> None:
    queue = queue_with(600_000)
    assert queue.take(queue._started, at_once=False) is not None


def test_one_batch_is_on_its_way_at_a_time() -> None:
    queue = queue_with(3)
    assert queue.take(queue._started, at_once=True) is not None
    queue.add_answers("another", {0: Counts(np.array([1]))})
    assert queue.take(queue._started, at_once=True) is None
    queue.committed()
    assert queue.take(queue._started, at_once=True) is not None
    assert not queue.is_empty
    queue.committed()
    assert queue.is_empty
