"""Labels and groups of labels: the most frequent ones, and the exits of their images."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

__all__ = ["LabelCount", "LabelTotals"]

_NUM_SHOWN = 15


@dataclass(frozen=True)
class LabelCount:
    """The images of one label or group, by exit."""

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

    COLUMNS: ClassVar[tuple[str, ...]] = ("label", "exit_stage", "groups")

    def __init__(self, num_exits: int) -> None:
        self._num_exits = num_exits
        self._labels: dict[str, NDArray[np.int64]] = {}
        self._groups: dict[str, NDArray[np.int64]] = {}

    @property
    def num_labels(self) -> int:
        """Distinct labels so far."""
        return len(self._labels)

    def add(self, rows: pa.Table) -> None:
        """Adds one batch."""
        self._count(rows["label"], rows["exit_stage"], self._labels)
        of_groups = rows["exit_stage"].take(pc.list_parent_indices(rows["groups"]))
        self._count(pc.list_flatten(rows["groups"]), of_groups, self._groups)

    def _count(
        self, names: pa.ChunkedArray, exits: pa.ChunkedArray, into: dict[str, NDArray[np.int64]]
    ) -> None:
        rows = pa.table({"name": names, "exit_stage": exits})
        counts = rows.group_by(["name", "exit_stage"]).aggregate([([], "count_all")])
        for row in counts.to_pylist():
            by_exit = into.setdefault(row["name"], np.zeros(self._num_exits, dtype=np.int64))
            by_exit[row["exit_stage"] - 1] += row["count_all"]

    def most_frequent(self) -> tuple[LabelCount, ...]:
        """The most frequent labels, in order."""
        return _most_frequent(self._labels)

    def most_frequent_groups(self) -> tuple[LabelCount, ...]:
        """The most frequent groups, in order; empty for a model without groups."""
        return _most_frequent(self._groups)


def _most_frequent(counts: dict[str, NDArray[np.int64]]) -> tuple[LabelCount, ...]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1].sum(), item[0]))
    return tuple(LabelCount(name, tuple(num.tolist())) for name, num in ranked[:_NUM_SHOWN])
