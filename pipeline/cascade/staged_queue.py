"""The staged queue: one queue per stage, refilled by the survivors of the previous stage.

Pure policy, independent of what the rows contain. The deepest full batch goes first, because deep
images hold the most memory. Partial batches go only on request, the shallowest first, because its
survivors may fill a deeper one.
"""

from collections import deque
from typing import Generic, Protocol, Self, TypeVar

__all__ = ["Rows", "StagedQueue"]


class Rows(Protocol):
    """Images with their data, which can be counted, cut and joined."""

    def __len__(self) -> int: ...

    def cut(self, start: int, stop: int) -> Self:
        """Returns the images start..stop-1."""
        ...

    @classmethod
    def join(cls, parts: "list[Self]") -> Self:
        """Concatenates several of these."""
        ...


R = TypeVar("R", bound=Rows)


class StagedQueue(Generic[R]):
    """Images that wait for a stage, handed out in batches.

    Args:
        num_stages: number of queues.
        batch_size: images in a full batch.
    """

    def __init__(self, num_stages: int, batch_size: int) -> None:
        if num_stages < 1 or batch_size < 1:
            raise ValueError(
                f"num_stages and batch_size: must be at least 1 (got {num_stages}, {batch_size})"
            )
        self.batch_size = batch_size
        self._queues: list[deque[R]] = [deque() for _ in range(num_stages)]
        self._waiting = [0] * num_stages

    def __len__(self) -> int:
        return sum(self._waiting)

    @property
    def waiting(self) -> tuple[int, ...]:
        """Images waiting for each stage."""
        return tuple(self._waiting)

    def push(self, stage: int, rows: R) -> None:
        """Appends images to the queue of a stage (from 0)."""
        if len(rows):
            self._queues[stage].append(rows)
            self._waiting[stage] += len(rows)

    def pop_full(self) -> tuple[int, R] | None:
        """The deepest stage (from 0) with a full batch, and the batch; None if there is none."""
        for stage in reversed(range(len(self._queues))):
            if self._waiting[stage] >= self.batch_size:
                return stage, self._pop(stage, self.batch_size)
        return None

    def pop_any(self) -> tuple[int, R] | None:
        """A full batch if there is one, else all images of the shallowest stage that has any."""
        full = self.pop_full()
        if full is not None:
            return full
        for stage, waiting in enumerate(self._waiting):
            if waiting:
                return stage, self._pop(stage, waiting)
        return None

    def _pop(self, stage: int, count: int) -> R:
        queue = self._queues[stage]
        self._waiting[stage] -= count
        parts: list[R] = []
        while count:
            rows = queue.popleft()
            if len(rows) > count:
                queue.appendleft(rows.cut(count, len(rows)))
                rows = rows.cut(0, count)
            parts.append(rows)
            count -= len(rows)
        if len(parts) == 1:
            return parts[0]
        try:
            return type(parts[0]).join(parts)
        except BaseException:
            # There may be no memory for the joined rows: they wait again.
            queue.extendleft(reversed(parts))
            self._waiting[stage] += sum(len(part) for part in parts)
            raise
