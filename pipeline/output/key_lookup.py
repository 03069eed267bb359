"""The committed rows of given keys, by a merge join of the listing with the table.

Each file of a table is sorted by key, and a listing mostly is too. So the keys of one shard after
another are joined with the files like sorted streams: each file is read once, a few rows at a time,
and memory does not grow with the table. Where the listing goes back, as inside a tar, reading
starts again from there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.output.delta_table import OutputTable
from pipeline.output.sorted_files import sorted_batches
from pipeline.storage import output_failures

__all__ = ["KeyLookup"]

_BATCH_ROWS = 4096
_WINDOW_ROWS = 262_144


@dataclass(slots=True)
class _FileStream:
    """A file that is being read: the rest of the current batch, and the batches after it."""

    rows: pa.Table
    batches: Iterator[pa.Table]


class KeyLookup:
    """Rows of a table as it is when this is made.

    The rows between the least and the greatest key of the last lookup are kept as the *window*, for
    shards whose keys interleave.

    Args:
        table: with a column `key`.
        columns: to read besides it.

    Attributes:
        num_restarts: how often reading started again because the keys went back.
    """

    def __init__(self, table: OutputTable, columns: Sequence[str]) -> None:
        self._uri = table.store.uri
        self._columns = ["key", *columns]
        self._schema = pa.schema([table.schema.field(name) for name in self._columns])
        self._filesystem = table.store.arrow()
        self._files = sorted((low, high, name) for name, low, high in table.bounds())
        self._window = self._schema.empty_table()
        self._window_from, self._window_to = "", ""
        self.num_restarts = 0
        self._restart()

    def rows(self, keys: Sequence[str]) -> pa.Table:
        """The rows of those keys that have one, in any order.

        Args:
            keys: at least one, in any order; near each other, or memory holds what lies between.
        """
        if not self._files:
            return self._schema.empty_table()
        first, last = min(keys), max(keys)
        wanted = pa.array(keys, pa.string())
        with output_failures(self._uri):
            if not (self._window_from <= first and last <= self._window_to):
                self._move_window(first, last, wanted)
        return self._window.filter(pc.is_in(self._window["key"], value_set=wanted))

    def all_rows(self) -> Iterator[pa.Table]:
        """All rows, a few at a time."""
        with output_failures(self._uri):
            for _, _, name in self._files:
                yield from self._batches(name)

    def _batches(self, name: str, first: str = "") -> Iterator[pa.Table]:
        return sorted_batches(self._filesystem, name, self._schema, _BATCH_ROWS, first)

    def _restart(self) -> None:
        self._read_up_to: str | None = None
        self._next_file = 0
        self._streams: list[_FileStream] = []

    def _move_window(self, first: str, last: str, wanted: pa.Array) -> None:
        if self._read_up_to is not None and first <= self._read_up_to:
            self.num_restarts += 1
            self._restart()
        pieces = [self._schema.empty_table()]
        num_rows = 0
        is_whole = True
        for piece in self._rows_between(first, last):
            pieces.append(piece)
            num_rows += piece.num_rows
            if num_rows > _WINDOW_ROWS:  # a wide range of keys: keep only the wanted rows
                merged = pa.concat_tables(pieces)
                pieces = [merged.filter(pc.is_in(merged["key"], value_set=wanted))]
                num_rows, is_whole = pieces[0].num_rows, False
        self._window = pa.concat_tables(pieces)
        self._window_from, self._window_to = (first, last) if is_whole else ("", "")
        self._read_up_to = last

    def _rows_between(self, first: str, last: str) -> Iterator[pa.Table]:
        while self._next_file < len(self._files) and self._files[self._next_file][0] <= last:
            _, high, name = self._files[self._next_file]
            self._next_file += 1
            if high >= first:
                batches = self._batches(name, first)
                self._streams.append(_FileStream(self._schema.empty_table(), batches))
        unread = []
        for stream in self._streams:
            while True:
                start = _num_below(stream.rows, first, including=False)
                end = _num_below(stream.rows, last, including=True)
                if end > start:
                    yield stream.rows.slice(start, end - start)
                stream.rows = stream.rows.slice(end)
                if stream.rows.num_rows:
                    unread.append(stream)
                    break
                batch = next(stream.batches, None)
                if batch is None:
                    break
                stream.rows = batch
        self._streams = unread


def _num_below(rows: pa.Table, bound: str, including: bool) -> int:
    """How many of these sorted rows have a key below a bound."""
    if not rows.num_rows:
        return 0
    compare = pc.less_equal if including else pc.less
    return int(pc.sum(compare(rows["key"], bound)).as_py())
