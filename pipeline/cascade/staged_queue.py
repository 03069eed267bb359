"""The staged queue: one queue a stage, refilled by the survivors of the stage before.

Pure policy: it never looks into the rows it holds. Deepest full batch first, because what is
deep holds the most memory; a partial batch only when its owner says that nothing more will come,
and then the shallowest first, because its survivors may still fill a deeper one.
"""

from collections import deque
from typing import Generic, Protocol, Self, TypeVar

__all__ = ["Rows", "StagedQueue"]


class Rows(Protocol):
    """Some images with what they carry: can be counted, cut, and joined."""

    def __len__(self) -> int: ...

    def cut(self, start: int, stop: int) -> Self:
        """The images start..stop-1."""
        ...

    @classmethod
    def join(cls, parts: "list[Self]") -> Self:
        """Several groups of images, one behind the other."""
        ...


R = TypeVar("R", bound=Rows)


class StagedQueue(Generic[R]):
    """QueuedBatch images of `num_stages` stages, handed out in batches.

    Args:
        num_stages: how many queues.
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
        """Adds images behind those that wait for a stage (from 0)."""
        if len(rows):
            self._queues[stage].append(rows)
            self._waiting[stage] += len(rows)

    def pop_full(self) -> tuple[int, R] | None:
        """The deepest stage (from 0) with a full batch, and that batch; None if there is none."""
        for stage in reversed(range(len(self._queues))):
            if self._waiting[stage] >= self.batch_size:
                return stage, self._pop(stage, self.batch_size)
        return None

    def pop_any(self) -> tuple[int, R] | None:
        """A full batch if there is one, else what waits for the shallowest stage."""
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
            # There may be no memory for the joined rows: nothing is lost, they wait again.
            queue.extendleft(reversed(parts))
            self._waiting[stage] += sum(len(part) for part in parts)
            raise
