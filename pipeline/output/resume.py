"""What each shard resumes from: which of its images are done, and which this run has to do.

A shard is looked up in two steps:

1. By name in `shards`. A name digests keys, sizes and etags, so a shard with a row there is
   finished and unchanged: all its images are done. Two kinds of run look closer. A retry does again
   the dead letters of the chosen reasons. A retag run does again the tags that do not meet
   what it requires (`retag.py`).
2. Otherwise by key in the tables of `COUNT_COLUMNS` (`key_lookup.py`). Each image then is

   - *done*: it has a row that counts. A row counts if the source reports no etag or the one in the
     row, and a tag only if its exit is not below the run's thresholds;
   - *to do*: it has no row that counts. Rows it does have are replaced by the new result;
   - *left*: it has no row that counts and no dead letter of the chosen reasons, and the run is a
     retry, which does nothing but these.

   Where rows were written for another shard, the archive has changed since. Finished shards that
   may hold the same keys and that the listing has not passed then count as finished no more: if the
   archive changes back, they would pass for unchanged.

A crash between the commits to two tables leaves some images with a row in each. The row that
counts stays and the others are *leftovers* for the ledger to remove. Where either may be the newer
one, the image is done again. Rows of images that are gone from the archive stay in the tables and
are never looked up.

Reads the tables as they were when the run began; changes nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import Reason
from pipeline.output.counts import Counts
from pipeline.output.earlier_rows import EarlierRow, EarlierRows, text_hash
from pipeline.output.finished_shards import FinishedShards, KeyRanges
from pipeline.output.retag import RetagIndex, TagRequirements
from pipeline.output.tables import COUNT_COLUMNS, Tables
from pipeline.sources.sharding import Shard

__all__ = ["EarlierResults", "KeysOfTable", "ShardResume", "no_keys"]


KeysOfTable = dict[str, set[str]]
"""Keys by name of their table."""


def no_keys() -> KeysOfTable:
    """No keys of any table with one row a file."""
    return {name: set() for name in COUNT_COLUMNS}


@dataclass(slots=True)
class ShardResume:
    """What a run resumes from in one shard; each image is in `done`, `rows` or `num_left`.

    Attributes:
        done: results that count.
        rows: images of the shard to do, [n].
        is_recorded: the shard has a row in `shards`.
        superseded: finished shards that may hold the same keys and are not in the listing.
        num_left: images without a result that a retry does not do.
        num_retagged: of `rows`, those with a tag below the thresholds.
        replaced: by table, keys of `rows` whose old row the new result replaces.
        leftover: by table, keys whose row a crash left beside the one that counts.
    """

    done: Counts
    rows: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    is_recorded: bool = False
    superseded: list[str] = field(default_factory=list)
    num_left: int = 0
    num_retagged: int = 0
    replaced: KeysOfTable = field(default_factory=no_keys)
    leftover: KeysOfTable = field(default_factory=no_keys)


# Codes of tags: the exit stage, and these bits.
_COPY, _BELOW = 1 << 8, 1 << 9
_REASONS = pa.array([reason.value for reason in Reason])


class EarlierResults:
    """The results of earlier runs.

    Args:
        tables: of the output.
        num_stages: of the cascade.
        retry: reasons of the dead letters to do again; None unless the run is a retry.
        required: of every tag; None for any tag.
        retag_finished: finished shards may hold tags that do not meet it.
    """

    def __init__(
        self,
        tables: Tables,
        num_stages: int,
        retry: Collection[Reason] | None,
        required: TagRequirements | None,
        retag_finished: bool,
    ) -> None:
        self._num_stages = num_stages
        self._retry = None if retry is None else [reason.value for reason in retry]
        self._reasons = {_REASONS.index(reason).as_py() for reason in self._retry or ()}
        self._required = required if retry is None and required else TagRequirements()
        columns = ["shard", "exits", "num_dead_letters", "num_other_files", "copies"]
        self._finished = FinishedShards(tables.shards.scan(columns), num_stages)
        self._retag_index: RetagIndex | None = None
        if retag_finished and retry is None:
            self._retag_index = RetagIndex(tables.tags, self._finished, self._required)
        self._shards = tables.shards
        self._ranges: KeyRanges | None = None
        self._earlier = {
            "tags": EarlierRows(tables.tags, ["gmacs", *self._required.columns], self._tag_codes),
            "dead_letters": EarlierRows(tables.dead_letters, ["reason"], _letter_codes),
            "other_files": EarlierRows(tables.other_files, [], _no_codes),
        }
        self._letters_to_retry = self._keys_to_retry(tables)

    def _keys_to_retry(self, tables: Tables) -> NDArray[np.object_]:
        if self._retry is None:
            return np.empty(0, dtype=object)
        chosen = pc.field("reason").isin(self._retry)
        keys = tables.dead_letters.scan(["key"], chosen)["key"]
        return np.sort(keys.to_numpy(zero_copy_only=False).astype(object))

    @property
    def num_to_retry(self) -> int:
        """Dead letters to do again."""
        return len(self._letters_to_retry)

    def unlisted_shards(self) -> list[str]:
        """Finished shards that `resume` was not asked for."""
        return self._finished.unlisted()

    def resume(self, shard: Shard) -> ShardResume:
        """What the run resumes from in a listed shard."""
        finished = self._finished.take_listed(shard.name)
        if finished is None:
            return self._look_up(shard)
        as_finished = ShardResume(finished, is_recorded=True)
        if self._retag_index is not None:
            retag = self._retag_index.find(shard)
            if retag is not None:
                np.subtract.at(finished.exits, retag.exit_stages - 1, 1)
                np.subtract.at(finished.copies, retag.exit_stages - 1, retag.are_copies)
                as_finished.rows, as_finished.num_retagged = retag.rows, len(retag.rows)
                as_finished.replaced["tags"] = {shard.images[row].key for row in retag.rows}
                return as_finished
        elif not self._may_have_letters_to_retry(shard):
            return as_finished
        found = self._look_up(shard, is_recorded=True)
        return found if len(found.rows) else as_finished

    def _may_have_letters_to_retry(self, shard: Shard) -> bool:
        index = int(np.searchsorted(self._letters_to_retry, shard.first_key))
        return index < self.num_to_retry and self._letters_to_retry[index] <= shard.last_key

    def _look_up(self, shard: Shard, is_recorded: bool = False) -> ShardResume:
        """Compares a shard with the committed rows of its keys."""
        keys = [image.key for image in shard.images]
        earlier = {name: rows.find(keys) for name, rows in self._earlier.items()}
        found = ShardResume(Counts.zero(self._num_stages), is_recorded=is_recorded)
        if not any(earlier.values()) and self._retry is None:
            found.rows = np.arange(len(keys))
            return found
        own = text_hash(shard.name)
        if any(row.shard != own for rows in earlier.values() for row in rows.values()):
            found.superseded = self._superseded_by(shard)
        rows = []
        for row, image in enumerate(shard.images):
            key, etag = image.key, image.etag
            of_key = {name: rows[key] for name, rows in earlier.items() if key in rows}
            valid = self._table_that_counts(of_key, etag)
            if valid is not None:
                _add_result(found.done, valid, of_key[valid].code)
                for name in of_key.keys() - {valid}:
                    found.leftover[name].add(key)
            elif self._retry is not None and not self._is_to_retry(of_key):
                found.num_left += 1
            else:
                rows.append(row)
                found.num_retagged += "tags" in of_key and _is_current(of_key["tags"], etag)
                for name in of_key:
                    found.replaced[name].add(key)
        found.rows = np.array(rows, dtype=np.int64)
        return found

    def _table_that_counts(self, rows: dict[str, EarlierRow], etag: str | None) -> str | None:
        """The table whose row of an image counts; None if the image has to be done again.

        Args:
            rows: of the image, by table.
            etag: of the image.
        """
        current = {name: row for name, row in rows.items() if _is_current(row, etag)}
        if len({row.etag for row in current.values()}) > 1:
            return None  # the source has stopped to report etags, so either may be the newer one
        if "tags" in current:
            # Of a tag below the thresholds and another row, either may be the newer one.
            return None if current["tags"].code & _BELOW else "tags"
        if "other_files" in current:  # no run does it again, so the dead letter is older
            return "other_files"
        if "dead_letters" in current and not self._is_to_retry(current):
            return "dead_letters"
        return None

    def _is_to_retry(self, rows: dict[str, EarlierRow]) -> bool:
        return "dead_letters" in rows and rows["dead_letters"].code in self._reasons

    def _superseded_by(self, shard: Shard) -> list[str]:
        if self._ranges is None:
            self._ranges = KeyRanges(self._shards.scan(["shard", "first_key", "last_key"]))
        names = self._ranges.overlapping(shard.first_key, shard.last_key)
        return self._finished.supersede(names)

    def _tag_codes(self, rows: pa.Table) -> NDArray[np.int16]:
        codes: NDArray[np.int16] = rows["exit_stage"].to_numpy().astype(np.int16)
        codes += _COPY * (rows["gmacs"].to_numpy() == 0).astype(np.int16)
        codes += _BELOW * self._required.unmet(rows).astype(np.int16)
        return codes


def _letter_codes(rows: pa.Table) -> NDArray[np.int16]:
    codes = pc.fill_null(pc.index_in(rows["reason"], value_set=_REASONS), -1)
    return np.asarray(codes.to_numpy(), dtype=np.int16)


def _no_codes(rows: pa.Table) -> NDArray[np.int16]:
    return np.zeros(rows.num_rows, dtype=np.int16)


def _add_result(counts: Counts, table: str, code: int) -> None:
    """Counts one row of a table."""
    if table == "dead_letters":
        counts.num_dead_letters += 1
    elif table == "other_files":
        counts.num_other_files += 1
    else:
        index = (code & ~_COPY) - 1
        counts.exits[index] += 1
        counts.copies[index] += bool(code & _COPY)


def _is_current(row: EarlierRow, etag: str | None) -> bool:
    """The content is unchanged, as far as etags show.

    A row without an etag does not show what it was made from, so it counts only while the source
    reports none either.
    """
    return etag is None or row.etag == text_hash(etag)
