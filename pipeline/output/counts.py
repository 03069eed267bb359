"""Counts of results: of some images, of a run, of all runs; and an estimate of what is left."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Counts", "RunCounts"]

_RECENT_SHARDS = 32.0
_GONE_PER_SURPLUS = 4.0


@dataclass(slots=True)
class Counts:
    """Results of some images. E exits.

    Attributes:
        exits: images tagged at each exit, [E].
        num_dead_letters: images that failed permanently.
        copies: of `exits`, images that share the result of another and cost nothing, [E].
        num_other_files: files that are no pictures.
    """

    exits: NDArray[np.int64]
    num_dead_letters: int = 0
    copies: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    num_other_files: int = 0

    def __post_init__(self) -> None:
        if not len(self.copies):
            self.copies = np.zeros_like(self.exits)

    @classmethod
    def zero(cls, num_stages: int) -> "Counts":
        """No results yet."""
        return cls(np.zeros(num_stages, dtype=np.int64))

    @property
    def num_tagged(self) -> int:
        """Tagged images."""
        return int(self.exits.sum())

    @property
    def num_done(self) -> int:
        """Files with an outcome: a tag, a dead letter or an other file."""
        return self.num_tagged + self.num_dead_letters + self.num_other_files

    def gmacs(self, gmacs_per_exit: NDArray[np.float64]) -> float:
        """GMACs spent on these images."""
        return float((self.exits - self.copies) @ gmacs_per_exit)

    def add(self, other: "Counts") -> None:
        """Adds results in place."""
        self.exits += other.exits
        self.copies += other.copies
        self.num_dead_letters += other.num_dead_letters
        self.num_other_files += other.num_other_files


@dataclass(slots=True)
class RunCounts:
    """The archive and its results, as far as it has been listed.

    Attributes:
        this_run: results of this run.
        all_runs: results of all runs for the listed images.
        num_images: listed images.
        num_skipped: of those, done by earlier runs.
        num_left: of those, without a result and not for this run to do.
        num_tagged_before: of those, with a tag of an earlier run for the same content.
        num_retagged: of the latter, below this run's thresholds and done again.
        num_other_files_before: of the skipped ones, no pictures.
        num_results: committed by earlier runs, for listed and unlisted images.
    """

    this_run: Counts
    all_runs: Counts
    num_images: int = 0
    num_skipped: int = 0
    num_left: int = 0
    num_tagged_before: int = 0
    num_retagged: int = 0
    num_other_files_before: int = 0
    num_results: int = 0
    _num_found: int = 0  # of `num_results`, those of listed images
    _recent_found: float = 0.0
    _recent_skipped: float = 0.0

    def add_shard(
        self, num_images: int, num_skipped: int, num_replaced: int, num_left: int = 0
    ) -> None:
        """Adds a listed shard.

        Args:
            num_images: in the shard.
            num_skipped: with a result of an earlier run that counts.
            num_replaced: with a result of an earlier run that is done again.
            num_left: without a result and not for this run to do.
        """
        self.num_images += num_images
        self.num_skipped += num_skipped
        self.num_left += num_left
        num_found = num_skipped + num_replaced
        if not num_found:
            return
        self._num_found += num_found
        self._recent_found += num_found - self._recent_found / _RECENT_SHARDS
        self._recent_skipped += num_skipped - self._recent_skipped / _RECENT_SHARDS

    def num_to_do(self, num_images: int) -> int:
        """Images for this run to do, those it has done included; an estimate until all are listed.

        The results not found yet are attributed to unlisted images, and the share of them that
        counts is that of the results found recently. If there are more results than images, some
        belong to images that are gone; the density of results so far is then the lower bound.

        Args:
            num_images: in the archive.
        """
        listed_to_do = self.num_images - self.num_skipped - self.num_left
        unlisted = max(0, num_images - self.num_images)
        remaining = max(0, self.num_results - self._num_found)
        surplus = max(0, remaining - unlisted)
        expected = unlisted * self._num_found / max(1, self.num_images)
        results = min(remaining, max(unlisted - _GONE_PER_SURPLUS * surplus, expected), unlisted)
        share = self._recent_skipped / self._recent_found if self._recent_found else 1.0
        return listed_to_do + round(unlisted - share * results)
