"""What is committed of given keys, for a listing that comes along about in order of its keys.

Each file of a table is sorted by key, so some rows of each file that overlaps the current keys are
enough: listing and table are joined like two sorted streams, each file is read once, and memory
does not grow with the table. Where the listing goes back, as it does inside of a tar, reading
starts again from there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.output.delta_table import OutputTable
from pipeline.output.parquet_files import epoch_of
from pipeline.storage import output_failures

__all__ = ["CommittedRows"]

_BATCH_ROWS = 4096
_WINDOW_ROWS = 262_144


@dataclass(slots=True)
class _Stream:
    """A file that is being read: the batch at hand, and what follows it."""

    rows: pa.Table
    following: Iterator[pa.Table]


class CommittedRows:
    """Rows of a table as it is when this is made.

    Args:
        table: with a column `key`.
        columns: further columns to read.
    """

    def __init__(self, table: OutputTable, columns: Sequence[str]) -> None:
        self._uri = table.place.uri
        self._columns = ["key", *columns]
        self._schema = pa.schema([table.schema.field(name) for name in self._columns])
        self._filesystem = table.place.arrow()
        self._files = sorted((low, high, name) for name, low, high in table.bounds())
        self._window = self._schema.empty_table()
        self._window_from, self._window_to = "", ""
        self._restart()

    def of(self, keys: Sequence[str]) -> dict[str, tuple[Any, ...]]:
        """The other columns of those keys that have a row.

        Args:
            keys: at least one, in any order, near each other.
        """
        key_column, *others = (column.to_pylist() for column in self.rows_of(keys).columns)
        return dict(zip(key_column, zip(*others, strict=True), strict=True))

    def rows_of(self, keys: Sequence[str]) -> pa.Table:
        """The rows of those keys that have one, in no particular order; see `of`."""
        if not self._files:
            return self._schema.empty_table()
        first, last = min(keys), max(keys)
        wanted = pa.array(keys, pa.string())
        with output_failures(self._uri):
            if not (self._window_from <= first and last <= self._window_to):
                self._move_window(first, last, wanted)
        return self._window.filter(pc.is_in(self._window["key"], value_set=wanted))

    def _restart(self) -> None:
        self._reached: str | None = None
        self._next_file = 0
        self._streams: list[_Stream] = []

    def _move_window(self, first: str, last: str, wanted: pa.Array) -> None:
        if self._reached is not None and first <= self._reached:
            self._restart()
        pieces = [self._schema.empty_table()]
        num_rows = 0
        is_whole = True
        for piece in self._rows_between(first, last):
            pieces.append(piece)
            num_rows += piece.num_rows
            if num_rows > _WINDOW_ROWS:  # a wide range of keys: keep only what was asked for
                together = pa.concat_tables(pieces)
                pieces = [together.filter(pc.is_in(together["key"], value_set=wanted))]
                num_rows, is_whole = pieces[0].num_rows, False
        self._window = pa.concat_tables(pieces)
        self._window_from, self._window_to = (first, last) if is_whole else ("", "")
        self._reached = last

    def _rows_between(self, first: str, last: str) -> Iterator[pa.Table]:
        while self._next_file < len(self._files) and self._files[self._next_file][0] <= last:
            _, high, name = self._files[self._next_file]
            self._next_file += 1
            if high >= first:
                batches = self._batches(name, first)
                self._streams.append(_Stream(self._schema.empty_table(), batches))
        still_open = []
        for stream in self._streams:
            while True:
                below = _num_below(stream.rows, first, including=False)
                until = _num_below(stream.rows, last, including=True)
                if until > below:
                    yield stream.rows.slice(below, until - below)
                stream.rows = stream.rows.slice(until)
                if stream.rows.num_rows:
                    still_open.append(stream)
                    break
                following = next(stream.following, None)
                if following is None:
                    break
                stream.rows = following
        self._streams = still_open

    def _batches(self, name: str, first: str) -> Iterator[pa.Table]:
        """Batches of a file in order of keys, from about `first` on."""
        with pq.ParquetFile(name, filesystem=self._filesystem, pre_buffer=False) as file:
            if epoch_of(name) is None:  # not ours, so it need not be sorted
                rows = file.read(columns=self._columns).select(self._columns).cast(self._schema)
                rows = rows.sort_by("key")
                yield from (
                    rows.slice(start, _BATCH_ROWS) for start in range(0, rows.num_rows, _BATCH_ROWS)
                )
                return
            groups = [n for n in range(file.num_row_groups) if not _ends_before(file, n, first)]
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=self._columns):
                yield pa.Table.from_batches([batch]).select(self._columns).cast(self._schema)


def _num_below(rows: pa.Table, bound: str, including: bool) -> int:
    """How many of these sorted rows have a key below a bound."""
    if not rows.num_rows:
        return 0
    compare = pc.less_equal if including else pc.less
    return int(pc.sum(compare(rows["key"], bound)).as_py())


def _ends_before(file: pq.ParquetFile, group: int, first: str) -> bool:
    statistics = file.metadata.row_group(group).column(0).statistics
    return statistics is not None and statistics.has_min_max and statistics.max < first
