"""What earlier runs left for the images of a shard, and what of it this run does again.

A result counts unless the storage says that the image's content has changed since (another etag),
or the image had left too early for the thresholds of this run (`upgrades.py`). A retry does again
the dead letters of the reasons that it is for, and nothing else.

Reads the committed rows beside the listing; changes nothing.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import Reason
from pipeline.output.counts import Counts, FinishedShards
from pipeline.output.delta_table import OutputTable
from pipeline.output.key_lookup import CommittedRows
from pipeline.output.retag import TAG_COLUMNS, exits_below_threshold
from pipeline.output.too_early import ExitsBelowThreshold
from pipeline.sources.sharding import Shard

__all__ = ["EarlierResults", "ShardResume"]


@dataclass(slots=True)
class ShardResume:
    """A shard that is not finished, as earlier runs left it.

    Attributes:
        done: results that count.
        rows: of the shard that this run has to do.
        num_left: images that have no result and get none in this run.
        num_too_early: of those to do, the ones that had left too early.
        old_tags, old_letters: keys to do whose rows give way to the new result.
        late_tags, late_letters: keys whose rows a crash has left beside newer ones.
    """

    done: Counts
    rows: NDArray[np.int64]
    num_left: int = 0
    num_too_early: int = 0
    old_tags: set[str] = field(default_factory=set)
    old_letters: set[str] = field(default_factory=set)
    late_tags: set[str] = field(default_factory=set)
    late_letters: set[str] = field(default_factory=set)


class EarlierResults:
    """The tables as they are when a run begins.

    Args:
        tags, dead_letters: the tables.
        num_stages: of the cascade.
        retry: reasons of the dead letters to do again; None for an ordinary run.
        thresholds: that each tag has to satisfy, one for each exit but the last; None if tags
            count whatever they left by.
        is_upgrade: shards that were finished may hold tags that do not.
        finished: these shards.
    """

    def __init__(
        self,
        tags: OutputTable,
        dead_letters: OutputTable,
        num_stages: int,
        retry: Collection[Reason] | None,
        thresholds: Sequence[float] | None,
        is_upgrade: bool,
        finished: FinishedShards,
    ) -> None:
        self._num_stages = num_stages
        self._retry = None if retry is None else {reason.value for reason in retry}
        # A retry leaves tags alone, those that are too early as well.
        self._thresholds = thresholds if retry is None else None
        self._too_early_rows: ExitsBelowThreshold | None = None
        if is_upgrade and self._thresholds is not None:
            self._too_early_rows = ExitsBelowThreshold(tags, finished, self._thresholds)
        self._tag_rows = CommittedRows(tags, ["etag", "gmacs", *TAG_COLUMNS])
        self._letter_rows = CommittedRows(dead_letters, ["reason", "etag"])
        self._letters_to_retry = self._keys_to_retry(dead_letters)

    def _keys_to_retry(self, dead_letters: OutputTable) -> NDArray[np.object_]:
        if self._retry is None:
            return np.empty(0, dtype=object)
        chosen = pc.field("reason").isin(sorted(self._retry))
        keys = dead_letters.scan(["key"], chosen)["key"]
        return np.sort(keys.to_numpy(zero_copy_only=False).astype(object))

    @property
    def num_to_retry(self) -> int:
        """Dead letters that are to be done again."""
        return len(self._letters_to_retry)

    def of_finished(self, shard: Shard, done: Counts) -> ShardResume | None:
        """What this run does again of a shard that was finished; None if it stays as it is.

        Args:
            shard: the shard.
            done: its results; changed if some of them are to be done again.
        """
        if self._too_early_rows is None:
            return self.of(shard) if self._has_letters_to_retry(shard) else None
        early = self._too_early_rows.of(shard)
        if early is None:
            found = self.of(shard)
            return found if len(found.rows) else None
        if not len(early.rows):
            return None
        np.subtract.at(done.exits, early.exit_stages - 1, 1)
        np.subtract.at(done.copies, early.exit_stages - 1, early.are_copies)
        keys = {shard.images[row].key for row in early.rows}
        return ShardResume(done, early.rows, num_too_early=len(keys), old_tags=keys)

    def _has_letters_to_retry(self, shard: Shard) -> bool:
        keys = self._letters_to_retry
        if not len(keys):
            return False
        place = int(np.searchsorted(keys, shard.first_key))
        return place < len(keys) and keys[place] <= shard.last_key

    def of(self, shard: Shard) -> ShardResume:
        """Compares an unfinished shard with the committed rows of its keys."""
        images = shard.images
        keys = [image.key for image in images]
        tags, letters = self._tags_of(keys), self._letter_rows.of(keys)
        done = Counts.zero(self._num_stages)
        if not tags and not letters and self._retry is None:
            return ShardResume(done, np.arange(len(images)))
        found = ShardResume(done, np.empty(0, dtype=np.int64))
        rows = []
        for row, image in enumerate(images):
            key = image.key
            tag, letter = tags.get(key), letters.get(key)
            is_same = tag is not None and self._is_current(tag.etag, image.etag)
            # Beside a dead letter, which of the two is the newer one cannot be told: done again.
            is_too_early = is_same and tag is not None and tag.is_too_early
            if tag is not None and is_same and not is_too_early:
                done.exits[tag.exit_stage - 1] += 1
                done.copies[tag.exit_stage - 1] += tag.is_copy
                if letter is not None:
                    found.late_letters.add(key)
            elif not is_too_early and letter is not None and self._stays_dead(letter, image.etag):
                done.num_dead_letters += 1
                if tag is not None:
                    found.late_tags.add(key)
            elif letter is None and self._retry is not None:
                found.num_left += 1
            else:
                rows.append(row)
                found.num_too_early += is_too_early
                if tag is not None:
                    found.old_tags.add(key)
                if letter is not None:
                    found.old_letters.add(key)
        found.rows = np.array(rows, dtype=np.int64)
        return found

    def _tags_of(self, keys: list[str]) -> "dict[str, _Tag]":
        rows = self._tag_rows.rows_of(keys)
        columns = (rows[name].to_pylist() for name in ("key", "exit_stage", "etag", "gmacs"))
        together = zip(*columns, self._too_early(rows).tolist(), strict=True)
        return {
            key: _Tag(stage, etag, gmacs == 0, early) for key, stage, etag, gmacs, early in together
        }

    def _too_early(self, rows: pa.Table) -> NDArray[np.bool_]:
        if self._thresholds is None:
            return np.zeros(rows.num_rows, dtype=np.bool_)
        return exits_below_threshold(rows, self._thresholds)

    def _is_current(self, before: str | None, now: str | None) -> bool:
        """The content is the same, as far as the source can tell."""
        return self._retry is not None or before is None or now is None or before == now

    def _stays_dead(self, letter: tuple[Any, ...], etag: str | None) -> bool:
        reason, before = letter
        is_chosen = self._retry is not None and reason in self._retry
        return not is_chosen and self._is_current(before, etag)


@dataclass(frozen=True, slots=True)
class _Tag:
    """What decides about a tag."""

    exit_stage: int
    etag: str | None
    is_copy: bool
    is_too_early: bool
