"""Work of the stages of one actor: images, how many continued, seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["StageMeter", "StageWork"]


@dataclass(frozen=True, slots=True)
class StageWork:
    """Work of one stage.

    Attributes:
        images: that ran.
        went_on: of these, images that continued to the next stage.
        seconds: for these images.
        audited: of the images, those of an audit, which continue in any case.
    """

    images: int = 0
    went_on: int = 0
    seconds: float = 0.0
    audited: int = 0


class StageMeter:
    """Measures the batches of consecutive stages.

    Args:
        num_stages: of the actor.
        waiting: returns the images in each of its queues, which are one more than its stages if
            there is a next pool.
    """

    def __init__(self, num_stages: int, waiting: Callable[[], tuple[int, ...]]) -> None:
        self._num_stages = num_stages
        self._waiting = waiting
        self._work = [StageWork()] * num_stages

    @contextmanager
    def batch(self, position: int, num_images: int, num_audited: int = 0) -> Iterator[None]:
        """Measures the run of a batch from a queue; images put back there do not count."""
        before, started_s = (*self._waiting(), 0), time.perf_counter()
        yield
        after, so_far = (*self._waiting(), 0), self._work[position]
        num_run = num_images - (after[position] - before[position])
        self._work[position] = StageWork(
            so_far.images + num_run,
            so_far.went_on + after[position + 1] - before[position + 1],
            so_far.seconds + time.perf_counter() - started_s,
            so_far.audited + min(num_audited, num_run),
        )

    def take(self) -> tuple[StageWork, ...]:
        """Work of each stage since the previous call."""
        work, self._work = self._work, [StageWork()] * self._num_stages
        return tuple(work)
