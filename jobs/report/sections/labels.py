"""Labels: the most frequent ones, and the exits of their images."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["LabelCount", "LabelTotals"]

_NUM_SHOWN = 15


@dataclass(frozen=True)
class LabelCount:
    """The images of one label, by exit."""

    label: str
    num_by_exit: tuple[int, ...]

    @property
    def num_images(self) -> int:
        """All images of the label."""
        return sum(self.num_by_exit)

    @property
    def mean_exit(self) -> float:
        """Mean exit of its images, from 1."""
        weighted = sum(stage * num for stage, num in enumerate(self.num_by_exit, start=1))
        return weighted / self.num_images


class LabelTotals:
    """Running totals over `tags`.

    Args:
        num_exits: of the model.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("label", "exit_stage")

    def __init__(self, num_exits: int) -> None:
        self._num_exits = num_exits
        self._labels: dict[str, NDArray[np.int64]] = {}

    @property
    def num_labels(self) -> int:
        """Distinct labels so far."""
        return len(self._labels)

    def add(self, rows: pa.Table) -> None:
        """Adds one batch."""
        counts = rows.group_by(["label", "exit_stage"]).aggregate([([], "count_all")])
        for row in counts.to_pylist():
            none_yet = np.zeros(self._num_exits, dtype=np.int64)
            by_exit = self._labels.setdefault(row["label"], none_yet)
            by_exit[row["exit_stage"] - 1] += row["count_all"]

    def most_frequent(self) -> tuple[LabelCount, ...]:
        """The most frequent labels, in order."""
        ranked = sorted(self._labels.items(), key=lambda item: (-item[1].sum(), item[0]))
        return tuple(LabelCount(label, tuple(num.tolist())) for label, num in ranked[:_NUM_SHOWN])
