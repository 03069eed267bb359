"""Dead letters: the images that failed permanently, by reason, with examples."""

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["DeadLetterReason", "DeadLetterTotals", "FailedImage"]

_EXAMPLES_PER_REASON = 10
_DETAIL_CHARACTERS = 300


@dataclass(frozen=True, order=True)
class FailedImage:
    """One image that failed."""

    key: str
    detail: str


@dataclass(frozen=True)
class DeadLetterReason:
    """A reason, the number of its images, and the first of them by key."""

    reason: str
    num_images: int
    examples: tuple[FailedImage, ...]


class DeadLetterTotals:
    """Running totals over `dead_letters`."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("key", "reason", "detail")

    def __init__(self) -> None:
        self._num_images: dict[str, int] = {}
        self._examples: dict[str, list[FailedImage]] = {}

    @property
    def num_images(self) -> int:
        """Images that failed so far."""
        return sum(self._num_images.values())

    def add(self, rows: pa.Table) -> None:
        """Adds one batch."""
        for reason in pc.unique(rows["reason"]).to_pylist():
            matching = rows.filter(pc.equal(rows["reason"], reason))
            self._num_images[reason] = self._num_images.get(reason, 0) + matching.num_rows
            by_key = [("key", "ascending")]
            first = pc.select_k_unstable(matching, k=_EXAMPLES_PER_REASON, sort_keys=by_key)
            new = [
                FailedImage(row["key"], (row["detail"] or "")[:_DETAIL_CHARACTERS])
                for row in matching.take(first).to_pylist()
            ]
            known = self._examples.get(reason, [])
            self._examples[reason] = sorted(known + new)[:_EXAMPLES_PER_REASON]

    def reasons(self) -> tuple[DeadLetterReason, ...]:
        """All reasons, most frequent first."""
        ranked = sorted(self._num_images.items(), key=lambda item: (-item[1], item[0]))
        return tuple(
            DeadLetterReason(reason, number, tuple(self._examples[reason]))
            for reason, number in ranked
        )
