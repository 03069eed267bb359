"""Which images of finished shards had left too early for stricter thresholds, in one reading.

Looking each shard's keys up in a table that is sorted by key would read it once for every shard
wherever the listing is in another order. So the tags are read once, in any order, and of each row
that is too early its shard, exit and the hash of its key are kept: 13 bytes a row. That is enough
for a shard whose tags all name it. Others, of an archive that changed while they were written, are
told from those by their number of tags; their rows have to be looked up.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.output.counts import FinishedShards
from pipeline.output.delta_table import OutputTable
from pipeline.output.retag import TAG_COLUMNS, exits_below_threshold
from pipeline.sources.sharding import Shard

__all__ = ["EarlyRows", "ExitsBelowThreshold"]


@dataclass(frozen=True, slots=True)
class EarlyRows:
    """Images of a shard that had left too early.

    Attributes:
        rows: of the shard, [n].
        exit_stages: where each had left, from 1, [n].
        are_copies: which of them share the answer of another, [n].
    """

    rows: NDArray[np.int64]
    exit_stages: NDArray[np.int64]
    are_copies: NDArray[np.bool_]


class ExitsBelowThreshold:
    """What the tags say about finished shards when a run with stricter thresholds begins.

    Args:
        tags: the table; read from its first to its last row.
        finished: shards that are finished.
        thresholds: the stricter ones.
    """

    def __init__(
        self, tags: OutputTable, finished: FinishedShards, thresholds: Sequence[float]
    ) -> None:
        self._finished = finished
        self._num_tags = np.zeros(len(finished), dtype=np.int64)
        places, hashes, exits = [], [], []
        for batch in tags.batches(["key", "shard", "gmacs", *TAG_COLUMNS]):
            table = pa.Table.from_batches([batch])
            of_shard = finished.places(table["shard"])
            self._num_tags += np.bincount(of_shard[of_shard >= 0], minlength=len(finished))
            is_early = exits_below_threshold(table, thresholds) & (of_shard >= 0)
            early = table.filter(pa.array(is_early))
            places.append(of_shard[is_early].astype(np.int32))
            hashes.append(_hashes(early["key"].to_pylist()))
            stages = early["exit_stage"].to_numpy().astype(np.int8)
            exits.append(np.where(early["gmacs"].to_numpy() == 0, -stages, stages))
        self._places = np.concatenate(places or [np.empty(0, np.int32)])
        self._hashes = np.concatenate(hashes or [np.empty(0, np.int64)])
        self._exits = np.concatenate(exits or [np.empty(0, np.int8)])
        order = np.lexsort((self._hashes, self._places))
        self._places = self._places[order]
        self._hashes = self._hashes[order]
        self._exits = self._exits[order]

    def of(self, shard: Shard) -> EarlyRows | None:
        """Those of a finished shard; None if its rows have to be looked up."""
        place = self._finished.place(shard.name)
        if place is None or self._num_tags[place] != self._finished.num_tagged(place):
            return None
        first, end = np.searchsorted(self._places, np.array([place, place + 1], np.int32))
        known, exits = self._hashes[first:end], self._exits[first:end]
        hashes = _hashes([image.key for image in shard.images])
        rows = np.flatnonzero(np.isin(hashes, known))
        found = exits[np.searchsorted(known, hashes[rows])].astype(np.int64)
        return EarlyRows(rows, np.abs(found), found < 0)


def _hashes(keys: list[str]) -> NDArray[np.int64]:
    """Of 64 bits, the same in this process only."""
    return np.fromiter(map(hash, keys), np.int64, len(keys))
