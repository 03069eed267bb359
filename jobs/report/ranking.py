"""Running top-k over a stream of batches, with a cap per label and bounded memory.

Holds `size` rows, whatever passes. Nothing that was dropped could come back: more rows only make
the selection better, so the greedy choice over (selection + batch) equals the one over all rows.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from jobs.report.data import Picture

__all__ = ["RANKED_COLUMNS", "PictureRanking"]

RANKED_COLUMNS = ["key", "uri", "label", "confidence", "exit_stage"]
_BEST_FIRST = [("score", "descending"), ("key", "ascending")]


class PictureRanking:
    """Keeps the pictures of the highest scores; equal ones are told apart by key.

    Args:
        size: Pictures to keep.
        max_per_label: Most pictures of one label; None for no limit.
    """

    def __init__(self, size: int, max_per_label: int | None = None) -> None:
        self._size = size
        self._max_per_label = max_per_label or size
        self._best: pa.Table | None = None

    def add(self, rows: pa.Table, scores: pa.ChunkedArray) -> None:
        """Takes in rows that have at least `RANKED_COLUMNS`, and one score for each."""
        candidates = rows.select(RANKED_COLUMNS).append_column("score", scores)
        if self._best is not None:
            if self._best.num_rows == self._size:
                # Almost no batch gets past this line, so its strings need no sorting.
                worst = self._best["score"][-1]
                candidates = candidates.filter(pc.greater_equal(candidates["score"], worst))
            candidates = pa.concat_tables([self._best, candidates])
        candidates = candidates.take(pc.sort_indices(candidates, sort_keys=_BEST_FIRST))
        keep = np.flatnonzero(_rank_in_group(candidates["label"]) < self._max_per_label)
        self._best = candidates.take(pa.array(keep[: self._size]))

    def pictures(self) -> tuple[Picture, ...]:
        """The selection, best first, without thumbnails."""
        if self._best is None:
            return ()
        return tuple(Picture(**row) for row in self._best.select(RANKED_COLUMNS).to_pylist())


def _rank_in_group(labels: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """For each row, how many earlier rows have the same label."""
    codes = pc.rank(labels, tiebreaker="dense").to_numpy()
    by_label = np.argsort(codes, kind="stable")
    sorted_codes = codes[by_label]
    ranks = np.empty(len(codes), dtype=np.int64)
    ranks[by_label] = np.arange(len(codes)) - np.searchsorted(sorted_codes, sorted_codes)
    return ranks
