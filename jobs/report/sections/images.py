"""The easiest and the hardest images, with thumbnails.

Both are a running top-k over batches with a cap per label. The selection so far and the next batch
are enough to choose from: further rows never bring back a row that was dropped.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.report.thumbnails import ThumbnailReader

__all__ = ["ImageTotals", "ShownImage"]

_COLUMNS = ("key", "uri", "label", "confidence", "exit_stage")
_BEST_FIRST = [("score", "descending"), ("key", "ascending")]
_NUM_SHOWN = 12
_EASIEST_PER_LABEL = 2


@dataclass(frozen=True)
class ShownImage:
    """One image on the page.

    Attributes:
        thumbnail: a `data:` URI; None if the image cannot be read now.
        missing_because: a few words for the placeholder; empty with a thumbnail.
    """

    key: str
    uri: str
    label: str
    confidence: float
    exit_stage: int
    thumbnail: str | None
    missing_because: str


class ImageTotals:
    """The easiest and the hardest images of `tags`."""

    COLUMNS: ClassVar[tuple[str, ...]] = _COLUMNS

    def __init__(self) -> None:
        self._easiest = _Ranking(max_per_label=_EASIEST_PER_LABEL)
        self._hardest = _Ranking(max_per_label=_NUM_SHOWN)

    def add(self, rows: pa.Table) -> None:
        """Adds one batch."""
        first_exit = rows.filter(pc.equal(rows["exit_stage"], 1))
        self._easiest.add(first_exit, pc.cast(first_exit["confidence"], pa.float64()))
        # Confidences are in [0, 1], so with twice the exit the deeper one always wins.
        depth = pc.multiply(pc.cast(rows["exit_stage"], pa.float64()), 2.0)
        self._hardest.add(rows, pc.subtract(depth, rows["confidence"]))

    def easiest(self) -> tuple[ShownImage, ...]:
        """Images of the first exit with the highest confidence, at most two of a label."""
        return _with_thumbnails(self._easiest.best)

    def hardest(self) -> tuple[ShownImage, ...]:
        """Images of the deepest exit with the lowest confidence."""
        return _with_thumbnails(self._hardest.best)


class _Ranking:
    """Keeps the rows of the highest scores; ties are broken by key."""

    def __init__(self, max_per_label: int) -> None:
        self._max_per_label = max_per_label
        self.best: pa.Table | None = None

    def add(self, rows: pa.Table, scores: pa.ChunkedArray) -> None:
        candidates = rows.select(_COLUMNS).append_column("score", scores)
        if self.best is not None:
            if self.best.num_rows == _NUM_SHOWN:
                # Leaves almost no row of most batches, so few strings are sorted.
                worst = self.best["score"][-1]
                candidates = candidates.filter(pc.greater_equal(candidates["score"], worst))
            candidates = pa.concat_tables([self.best, candidates])
        candidates = candidates.take(pc.sort_indices(candidates, sort_keys=_BEST_FIRST))
        keep = np.flatnonzero(_rank_in_group(candidates["label"]) < self._max_per_label)
        self.best = candidates.take(pa.array(keep[:_NUM_SHOWN]))


def _rank_in_group(labels: pa.ChunkedArray) -> NDArray[np.int64]:
    """How many earlier rows have the same label, for each of n rows, [n]."""
    codes = pc.rank(labels, tiebreaker="dense").to_numpy()
    by_label = np.argsort(codes, kind="stable")
    sorted_codes = codes[by_label]
    ranks = np.empty(len(codes), dtype=np.int64)
    ranks[by_label] = np.arange(len(codes)) - np.searchsorted(sorted_codes, sorted_codes)
    return ranks


def _with_thumbnails(rows: pa.Table | None) -> tuple[ShownImage, ...]:
    shown = []
    with ThumbnailReader() as thumbnails:
        for row in [] if rows is None else rows.select(_COLUMNS).to_pylist():
            thumbnail, missing_because = thumbnails.read(row["uri"])
            shown.append(ShownImage(**row, thumbnail=thumbnail, missing_because=missing_because))
    return tuple(shown)
