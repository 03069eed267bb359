"""What the stages of one actor did since it was asked last: images, how many left, seconds."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["StageMeter", "StageWork"]


@dataclass(frozen=True, slots=True)
class StageWork:
    """What was done at one stage.

    Attributes:
        images: that ran.
        went_on: of these, to the next stage.
        seconds: for them.
        audited: of the images, those of an audit; they go on whatever they are told.
    """

    images: int = 0
    went_on: int = 0
    seconds: float = 0.0
    audited: int = 0


class StageMeter:
    """Counts the batches of some stages.

    Args:
        num_stages: of the actor.
        waiting: images in each of its queues; one more than stages if it hands images on.
    """

    def __init__(self, num_stages: int, waiting: Callable[[], tuple[int, ...]]) -> None:
        self._num_stages = num_stages
        self._waiting = waiting
        self._work = [StageWork()] * num_stages

    @contextmanager
    def batch(self, place: int, num_images: int, num_audited: int = 0) -> Iterator[None]:
        """A batch that was taken from a queue is run; what is put back there does not count."""
        before, started = (*self._waiting(), 0), time.perf_counter()
        yield
        after, so_far = (*self._waiting(), 0), self._work[place]
        num_run = num_images - (after[place] - before[place])
        self._work[place] = StageWork(
            so_far.images + num_run,
            so_far.went_on + after[place + 1] - before[place + 1],
            so_far.seconds + time.perf_counter() - started,
            so_far.audited + min(num_audited, num_run),
        )

    def take(self) -> tuple[StageWork, ...]:
        """Of each stage, since this was asked last."""
        work, self._work = self._work, [StageWork()] * self._num_stages
        return tuple(work)
