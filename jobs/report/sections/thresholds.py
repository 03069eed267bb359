"""Thresholds over time, of runs with a deadline."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.deadline.log import ThresholdChange

__all__ = ["ThresholdMoves", "threshold_moves"]

_NUM_SHOWN = 24


@dataclass(frozen=True)
class ThresholdMoves:
    """Changes of the thresholds within the runs.

    Attributes:
        shown: thresholds in use from a moment on; of many entries, evenly many.
        num_moves: all changes.
    """

    shown: tuple[ThresholdChange, ...]
    num_moves: int


def threshold_moves(used: Sequence[ThresholdChange]) -> ThresholdMoves:
    """Counts the changes, and selects the first entry, the last and evenly many between."""
    number = min(len(used), _NUM_SHOWN)
    indices = {round(place * (len(used) - 1) / max(1, number - 1)) for place in range(number)}
    return ThresholdMoves(
        shown=tuple(used[index] for index in sorted(indices)),
        num_moves=sum(a.run == b.run for a, b in pairwise(used)),
    )
