"""Retagging: a run computes again the tags that do not meet its requirements.

These are stricter thresholds, and embeddings where an output has none.

A tag holds the confidence at every exit that its image reached, so whether the image would still
have exited there is decided from the tag alone. The comparison is the runner's
(`dvt.exits.exit_mask`): a float32 confidence against a float32 threshold. Each tag is judged by its
own confidences, whatever thresholds it was made with.

Finished shards are compared in one pass over the tags, in any order (`RetagIndex`). Looking up each
shard's keys instead would read the table once a shard wherever the listing is not in key order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dvt.exits import FULL_DEPTH
from pipeline.output.delta_table import OutputTable
from pipeline.output.finished_shards import FinishedShards
from pipeline.sources.sharding import Shard

__all__ = ["RetagIndex", "RetagRows", "TagRequirements", "exits_below_threshold", "looser_exit"]

TAG_COLUMNS = ("exit_stage", "exit_confidences")


@dataclass(frozen=True, slots=True)
class TagRequirements:
    """What a tag must meet to count as done.

    Attributes:
        thresholds: one for each exit but the last; None for any tag.
        embeddings: tags must have an embedding.
    """

    thresholds: Sequence[float] | None = None
    embeddings: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of `tags` that `unmet` reads. Embeddings are long, so only if they count."""
        return (*TAG_COLUMNS, "embedding") if self.embeddings else TAG_COLUMNS

    def unmet(self, rows: pa.Table) -> NDArray[np.bool_]:
        """True for tags that do not meet these requirements, [n]."""
        is_unmet = np.zeros(rows.num_rows, dtype=np.bool_)
        if self.thresholds is not None:
            is_unmet |= exits_below_threshold(rows, self.thresholds)
        if self.embeddings:
            is_unmet |= rows["embedding"].is_null().to_numpy()
        return is_unmet


def looser_exit(before: Sequence[float], now: Sequence[float]) -> int | None:
    """The first exit, from 1, whose threshold is lower than before; None if there is none.

    Args:
        before: one threshold for each exit but the last.
        now: the same for another run.
    """
    looser = _comparable(now) < _comparable(before)
    return int(looser.argmax()) + 1 if looser.any() else None


def exits_below_threshold(rows: pa.Table, thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """True for tags that exited with a confidence below the threshold of their exit, [n].

    A tag without a confidence for its exit counts as below. The last exit has no threshold.

    Args:
        rows: tags with `TAG_COLUMNS`, n of them.
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
    threshold_of_exit = np.append(_comparable(thresholds), np.float32(0))
    exits: NDArray[np.bool_] = confidences >= threshold_of_exit[exit_stages - 1]
    is_below: NDArray[np.bool_] = ~exits & (exit_stages <= len(thresholds))
    return is_below


def _comparable(thresholds: Sequence[float]) -> NDArray[np.float32]:
    """As float32, clipped: thresholds above 1 are all equivalent, and so are those below 0."""
    return np.clip(np.array(thresholds, dtype=np.float64), 0.0, FULL_DEPTH).astype(np.float32)


@dataclass(frozen=True, slots=True)
class RetagRows:
    """Images of one shard to retag.

    Attributes:
        rows: of the shard, [n].
        exit_stages: of their tags, from 1, [n].
        are_copies: which of them share the result of another image, [n].
    """

    rows: NDArray[np.int64]
    exit_stages: NDArray[np.int64]
    are_copies: NDArray[np.bool_]


class RetagIndex:
    """Images of finished shards whose tags do not meet the requirements; 13 bytes for each.

    A tag's `shard` column assigns it to its shard. Where the archive changed while it was tagged,
    tags may name shards of an earlier listing; those shards have too few tags here and are
    reported as unknown.

    Args:
        tags: the table, read once.
        finished: the finished shards.
        required: of every tag.
    """

    def __init__(
        self, tags: OutputTable, finished: FinishedShards, required: TagRequirements
    ) -> None:
        self._finished = finished
        self._num_tags = np.zeros(len(finished), dtype=np.int64)
        shards = [np.empty(0, np.int32)]
        hashes = [np.empty(0, np.int64)]
        exits = [np.empty(0, np.int8)]  # negative for copies
        for batch in tags.batches(["key", "shard", "gmacs", *required.columns]):
            table = pa.Table.from_batches([batch])
            shard_of_row = finished.indices(table["shard"])
            is_finished = shard_of_row >= 0
            self._num_tags += np.bincount(shard_of_row[is_finished], minlength=len(finished))
            is_below = required.unmet(table) & is_finished
            below = table.filter(pa.array(is_below))
            stages = below["exit_stage"].to_numpy().astype(np.int8)
            shards.append(shard_of_row[is_below].astype(np.int32))
            hashes.append(_hashes(below["key"].to_pylist()))
            exits.append(np.where(below["gmacs"].to_numpy() == 0, -stages, stages))
        self._shards, self._hashes = np.concatenate(shards), np.concatenate(hashes)
        order = np.lexsort((self._hashes, self._shards))
        self._shards, self._hashes = self._shards[order], self._hashes[order]
        self._exits = np.concatenate(exits)[order]

    def find(self, shard: Shard) -> RetagRows | None:
        """Images of a finished shard to retag; None if its tags have to be looked up by key."""
        index = self._finished.index(shard.name)
        if index is None or self._num_tags[index] != self._finished.num_tagged(index):
            return None
        first, end = np.searchsorted(self._shards, np.array([index, index + 1], np.int32))
        known, exits = self._hashes[first:end], self._exits[first:end]
        hashes = _hashes([image.key for image in shard.images])
        rows = np.flatnonzero(np.isin(hashes, known))
        found = exits[np.searchsorted(known, hashes[rows])].astype(np.int64)
        return RetagRows(rows, np.abs(found), found < 0)


def _hashes(keys: list[str]) -> NDArray[np.int64]:
    """64-bit hashes, stable only within this process."""
    return np.fromiter(map(hash, keys), np.int64, len(keys))
