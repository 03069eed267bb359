"""Counts of results, and the finished shards of earlier runs in little memory."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["Counts", "FinishedShards", "RunCounts"]

_REMEMBERED_SHARDS = 32.0  # of what earlier results have come to in a run
_STRAYS = 4.0  # results of no image, for each that shows


@dataclass(slots=True)
class Counts:
    """Results of some images.

    Attributes:
        exits: images answered at each exit.
        num_dead_letters: images that failed for good.
        copies: of the images at each exit, those that share the answer of another and cost nothing.
    """

    exits: NDArray[np.int64]
    num_dead_letters: int = 0
    copies: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if not len(self.copies):
            self.copies = np.zeros_like(self.exits)

    @classmethod
    def zero(cls, num_stages: int) -> "Counts":
        """No results yet."""
        return cls(np.zeros(num_stages, dtype=np.int64))

    @property
    def num_tagged(self) -> int:
        """Images answered."""
        return int(self.exits.sum())

    @property
    def num_done(self) -> int:
        """Images with a result of either kind."""
        return self.num_tagged + self.num_dead_letters

    def gmacs(self, gmacs_per_exit: NDArray[np.float64]) -> float:
        """What was spent on these images."""
        return float((self.exits - self.copies) @ gmacs_per_exit)

    def add(self, other: "Counts") -> None:
        """Adds results in place."""
        self.exits += other.exits
        self.copies += other.copies
        self.num_dead_letters += other.num_dead_letters


@dataclass(slots=True)
class RunCounts:
    """What the archive holds and what is done of it, as far as it has been listed.

    Attributes:
        this_run: results of this run.
        all_runs: results of all runs for the images seen.
        num_images: images seen in the listing.
        num_skipped: of those, done by earlier runs.
        num_left: of those, without a result and not for this run to do.
        num_tagged_before: of those, with a tag of an earlier run that is of the same content.
        num_too_early: of the latter, those that had left too early, and are done again.
        num_results: that earlier runs had committed, of images seen and unseen.
    """

    this_run: Counts
    all_runs: Counts
    num_images: int = 0
    num_skipped: int = 0
    num_left: int = 0
    num_tagged_before: int = 0
    num_too_early: int = 0
    num_results: int = 0
    _num_met: int = 0
    # Fading sums: results met, and those of them that count.
    _met: float = 0.0
    _counted: float = 0.0

    def meet(self, num_counted: int, num_redone: int) -> None:
        """A shard was seen that had results, of which some count and the others are done again."""
        met = num_counted + num_redone
        if not met:
            return
        self._num_met += met
        self._met += met - self._met / _REMEMBERED_SHARDS
        self._counted += num_counted - self._counted / _REMEMBERED_SHARDS

    def num_to_do(self, num_images: int) -> int:
        """Images that are for this run to do, also those it has done; of what is unseen, a guess.

        Results not met yet are taken for those of images not seen yet, and for as good as the ones
        met lately. If there are more of them than images, some are of images that are gone; then
        those met so far say how many there may be.

        Args:
            num_images: in the archive.
        """
        seen = self.num_images - self.num_skipped - self.num_left
        unseen = max(0, num_images - self.num_images)
        unmet = max(0, self.num_results - self._num_met)
        likely = unseen * self._num_met / max(1, self.num_images)
        results = min(unmet, max(unseen - _STRAYS * max(0, unmet - unseen), likely))
        good = self._counted / self._met if self._met else 1.0
        return seen + round(unseen - good * min(results, unseen))


class FinishedShards:
    """Rows of the `shards` table by name: about 75 bytes a shard, 75 MB for a billion images.

    It also knows which of them were asked for.

    Args:
        rows: with `shard`, `exits`, `num_dead_letters`, `copies`.
        num_stages: of the cascade.
    """

    def __init__(self, rows: pa.Table, num_stages: int) -> None:
        names = np.array(rows["shard"].to_numpy(zero_copy_only=False), dtype=np.bytes_)
        order = np.argsort(names, kind="stable")
        self._names = names[order]
        self._exits = _matrix(rows["exits"], num_stages)[order]
        self._copies = _matrix(rows["copies"], num_stages)[order]
        self._num_dead_letters = rows["num_dead_letters"].to_numpy()[order]
        self._is_asked_for = np.zeros(len(names), dtype=np.bool_)

    def __len__(self) -> int:
        return len(self._names)

    def place(self, name: str) -> int | None:
        """Number of a finished shard among all of them; None if it is not finished."""
        place = int(np.searchsorted(self._names, name.encode()))
        is_finished = place < len(self._names) and self._names[place] == name.encode()
        return place if is_finished else None

    def places(self, names: pa.ChunkedArray) -> NDArray[np.int64]:
        """The same for many names; -1 for what is not finished."""
        if not len(self._names):
            return np.full(len(names), -1)
        wanted = np.array(names.to_numpy(zero_copy_only=False), dtype=np.bytes_)
        places = np.minimum(np.searchsorted(self._names, wanted), len(self._names) - 1)
        return np.where(self._names[places] == wanted, places, -1)

    def num_tagged(self, place: int) -> int:
        """Images of a shard that were answered; see `place`."""
        return int(self._exits[place].sum())

    def get(self, name: str) -> Counts | None:
        """The results of a finished shard; None if it is not finished."""
        place = self.place(name)
        if place is None:
            return None
        self._is_asked_for[place] = True
        return Counts(
            self._exits[place].copy(),
            int(self._num_dead_letters[place]),
            self._copies[place].copy(),
        )

    def not_asked_for(self) -> list[str]:
        """Names of the shards that `get` was never asked for."""
        return [name.decode() for name in self._names[~self._is_asked_for].tolist()]


def _matrix(lists: pa.ChunkedArray, length: int) -> NDArray[np.int64]:
    """Lists of one length as rows."""
    values = lists.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(values, dtype=np.int64).reshape(len(lists), length)
