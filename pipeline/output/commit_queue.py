"""Results on their way into the tables: collected, and handed over when a commit is due.

Often at first, so that results are seen early; less so later, so that files get a sensible size.
One batch at a time is on its way; a result is either collected, on its way, or committed.
"""

import time
from dataclasses import dataclass, field
from typing import Any

from pipeline.output.counts import Counts
from pipeline.records import DeadLetter

__all__ = ["CommitQueue", "Uncommitted"]

_FIRST_INTERVAL_S = 1.0
_LAST_INTERVAL_S = 30.0
_SHARE_OF_ELAPSED = 0.05
# What waits is held in memory, and one file of it is written at a time.
_MAX_IMAGES = 100_000


@dataclass(slots=True)
class Uncommitted:
    """Results that become visible together.

    Attributes:
        tables: references to tables of tags.
        letters: dead letters.
        counts: per open shard, of all of them.
    """

    tables: list[Any] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    counts: dict[int, Counts] = field(default_factory=dict)


class CommitQueue:
    """Collects results between commits.

    Args:
        num_stages: of the cascade.
    """

    def __init__(self, num_stages: int) -> None:
        self._num_stages = num_stages
        self._collected = Uncommitted()
        self._num_images = 0
        self._on_its_way = False
        self._started = self._last_s = time.monotonic()

    @property
    def is_empty(self) -> bool:
        """Everything that was added is committed."""
        return not (self._on_its_way or self._collected.tables or self._collected.letters)

    @property
    def is_behind(self) -> bool:
        """So much waits for the batch on its way that memory would fill up."""
        return self._num_images > 2 * _MAX_IMAGES

    def add_answers(self, table: Any, counts_of_shard: dict[int, Counts]) -> None:
        """A table of tags, and how many images of which shard left at which exit in it."""
        self._collected.tables.append(table)
        for shard, counts in counts_of_shard.items():
            self._num_images += counts.num_tagged
            self._counts(shard).add(counts)

    def add_letters(self, shard: int, letters: list[DeadLetter]) -> None:
        """Dead letters of one shard."""
        if letters:
            self._num_images += len(letters)
            self._collected.letters += letters
            self._counts(shard).num_dead_letters += len(letters)

    def take(self, now_s: float, at_once: bool) -> Uncommitted | None:
        """What to commit now; None if nothing is due, or a batch is still on its way."""
        growing_s = _SHARE_OF_ELAPSED * (now_s - self._started)
        interval_s = min(_LAST_INTERVAL_S, max(_FIRST_INTERVAL_S, growing_s))
        batch = self._collected
        is_many = self._num_images >= _MAX_IMAGES
        is_due = at_once or now_s - self._last_s >= interval_s or is_many
        if self._on_its_way or not is_due or not (batch.tables or batch.letters):
            return None
        self._collected = Uncommitted()
        self._num_images = 0
        self._on_its_way = True
        self._last_s = now_s
        return batch

    def committed(self) -> None:
        """The batch that was taken is in the tables."""
        self._on_its_way = False

    def _counts(self, shard: int) -> Counts:
        return self._collected.counts.setdefault(shard, Counts.zero(self._num_stages))
