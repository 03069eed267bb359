"""Stricter thresholds on an output that has tags: what may be asked, and which tags it concerns.

A tag holds the confidence of every exit that its image came by. So whether the image would have
left there by other thresholds too is known without looking at it: only those that would have gone
on are done again. Pure: knows thresholds and rows of tags; no files, no runs.

The comparison is that of the runner (`dvt.exits.exit_mask`): a float32 confidence against the
threshold as a float32. Each row is judged by its own confidences, whatever thresholds it left by.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dvt.exits import FULL_DEPTH

__all__ = ["TAG_COLUMNS", "exits_below_threshold", "looser_exit"]

TAG_COLUMNS = ("exit_stage", "exit_confidences")


def looser_exit(before: Sequence[float], now: Sequence[float]) -> int | None:
    """The first exit, from 1, that lets more images leave than before; None if none does.

    Args:
        before: one threshold for each exit but the last.
        now: as many.
    """
    looser = _as_compared(now) < _as_compared(before)
    return int(looser.argmax()) + 1 if looser.any() else None


def exits_below_threshold(rows: pa.Table, thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """True for tags whose image would not have left where it did.

    Rows that do not have the confidence of their exit count as such; rows of the last exit never.

    Args:
        rows: with `TAG_COLUMNS`.
        thresholds: one for each exit but the last.
    """
    exit_stages = rows["exit_stage"].to_numpy().astype(np.int64)
    lists = rows["exit_confidences"].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    values = lists.flatten().to_numpy(zero_copy_only=False)
    is_known = lengths >= exit_stages
    of_its_exit = (np.cumsum(lengths) - lengths + exit_stages - 1)[is_known]
    confidences = np.full(rows.num_rows, np.nan, dtype=np.float32)
    confidences[is_known] = values[of_its_exit]
    num_exits = len(thresholds) + 1
    threshold_of_exit = np.append(_as_compared(thresholds), np.float32(0))
    leaves: NDArray[np.bool_] = confidences >= threshold_of_exit[exit_stages - 1]
    too_early: NDArray[np.bool_] = ~leaves & (exit_stages < num_exits)
    return too_early


def _as_compared(thresholds: Sequence[float]) -> NDArray[np.float32]:
    """As the runner compares with them; those that nothing reaches, or everything, are alike."""
    return np.clip(np.array(thresholds, dtype=np.float64), 0.0, FULL_DEPTH).astype(np.float32)
