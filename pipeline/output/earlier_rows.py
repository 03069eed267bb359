"""Rows of earlier runs by key, whatever the order in which keys are asked for.

Most listings are in the order of the tables, so their keys are joined with the tables like sorted
streams (`key_lookup.py`). Where a listing keeps going back, as Parquet files with random keys do,
that would read the table again for each shard. So the table is then read once into an index of 30
bytes a row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.output.delta_table import OutputTable
from pipeline.output.key_lookup import KeyLookup

__all__ = ["EarlierRow", "EarlierRows", "text_hash"]

_MAX_RESTARTS = 4
_FIELDS = np.dtype([("key", "i8"), ("etag", "i8"), ("shard", "i8"), ("code", "i2")])


def text_hash(text: str | None) -> int:
    """64-bit hash, stable only within this process; 0 for None."""
    return 0 if text is None else hash(text) or 1


@dataclass(frozen=True, slots=True)
class EarlierRow:
    """What a run needs of an earlier row.

    Attributes:
        code: what `EarlierRows.code_of` makes of the row.
        etag: `text_hash` of its etag.
        shard: `text_hash` of the shard that it was written for.
    """

    code: int
    etag: int
    shard: int


class EarlierRows:
    """Rows of a table as it is when this is made.

    Args:
        table: with columns `key`, `etag` and `shard`.
        columns: others that `code_of` needs.
        code_of: a number below 2^15 for each row of a table, [n].
    """

    def __init__(
        self,
        table: OutputTable,
        columns: Sequence[str],
        code_of: Callable[[pa.Table], NDArray[np.int16]],
    ) -> None:
        self._lookup = KeyLookup(table, ["etag", "shard", *columns])
        self._code_of = code_of
        self._index: NDArray[np.void] | None = None

    def find(self, keys: Sequence[str]) -> dict[str, EarlierRow]:
        """The rows of those keys that have one.

        Args:
            keys: at least one, in any order.
        """
        if self._index is None and self._lookup.num_restarts > _MAX_RESTARTS:
            parts = [self._packed(rows) for rows in self._lookup.all_rows()]
            self._index = np.concatenate([np.empty(0, _FIELDS), *parts])
            self._index.sort(order="key")
        if self._index is None:
            rows = self._lookup.rows(keys)
            found = self._packed(rows)
            names = rows["key"].to_pylist()
        else:
            hashes = np.fromiter(map(text_hash, keys), np.int64, len(keys))
            places = np.searchsorted(self._index["key"], hashes)
            places = np.minimum(places, max(0, len(self._index) - 1))
            is_found = np.zeros(len(keys), dtype=np.bool_)
            if len(self._index):
                is_found = self._index["key"][places] == hashes
            found = self._index[places[is_found]]
            names = [key for key, is_here in zip(keys, is_found.tolist(), strict=True) if is_here]
        columns = (found[name].tolist() for name in ("code", "etag", "shard"))
        return {key: EarlierRow(*row) for key, *row in zip(names, *columns, strict=True)}

    def _packed(self, rows: pa.Table) -> NDArray[np.void]:
        packed = np.empty(rows.num_rows, _FIELDS)
        for name in ("key", "etag", "shard"):
            hashes = map(text_hash, rows[name].to_pylist())
            packed[name] = np.fromiter(hashes, np.int64, rows.num_rows)
        packed["code"] = self._code_of(rows)
        return packed
