"""The rows that changed between two versions of a table, in the order of their keys.

Only files that one of the versions has and the other has not are read. They are joined by key like
sorted streams, a few rows at a time, so memory does not grow with the table. A row that is the same
in both is no change, so a compaction is none.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipeline.errors import OutputFailedError
from pipeline.output.delta_log import open_delta
from pipeline.output.row_equality import same_rows
from pipeline.output.sorted_files import sorted_batches
from pipeline.storage import OutputStore, output_failures

__all__ = ["RangeChanges", "TableVersion", "VersionGoneError", "changes", "num_differing_rows"]

_BATCH_ROWS = 4096
_OPEN_ROWS = 262_144
_ABOVE_ALL = "\U0010ffff"


class VersionGoneError(OutputFailedError):
    """A version of the table, or a file of it, exists no more."""


@dataclass(frozen=True, slots=True)
class RangeChanges:
    """The changes in one range of keys.

    Attributes:
        above: the range begins after this key; None at the first key of the table.
        up_to: its last key; None for all that follow.
        written: rows that are new or have changed, sorted by key.
        removed: keys without a row in the later version.
        num_read: rows of both versions that were compared.
    """

    above: str | None
    up_to: str | None
    written: pa.Table
    removed: pa.Array
    num_read: int


class TableVersion:
    """One version of a table.

    Args:
        store: the table's folder.
        version: of the Delta log; None for the newest.

    Attributes:
        number: of the version.
        identity: of the table; another one if it was made anew.
        schema: of its rows.
        files: name -> least key, greatest key and number of rows.

    Raises:
        VersionGoneError: there is no such version.
    """

    def __init__(self, store: OutputStore, version: int | None = None) -> None:
        self.store = store
        delta = open_delta(store) if version is None else _at(store, version)
        if delta is None:
            raise VersionGoneError(f"out: there is no table in {store.uri}")
        with output_failures(store.uri):
            self.number = delta.version()
            self.identity = str(delta.metadata().id)
            self.schema = pa.schema(delta.schema().to_arrow())
            entries = pa.table(delta.get_add_actions(flatten=True)).to_pylist()
        self.files: dict[str, tuple[str, str, int]] = {
            entry["path"]: (
                entry.get("min.key") or "",
                entry.get("max.key") or _ABOVE_ALL,
                entry["num_records"] or 0,
            )
            for entry in entries
        }

    @property
    def num_rows(self) -> int:
        """Rows, as counted in the log."""
        return sum(num_rows for _, _, num_rows in self.files.values())


def _at(store: OutputStore, version: int) -> DeltaTable | None:
    try:
        with output_failures(store.uri):
            return DeltaTable(store.uri, version=version, storage_options=store.delta_options)
    except (DeltaError, OutputFailedError) as error:
        raise VersionGoneError(f"out: {store.uri} has no version {version} any more") from error


@dataclass(slots=True)
class _FileStream:
    """A file that is being read.

    Attributes:
        is_later: it belongs to the later version.
        rows: the rest of the current batch, at least one row.
        batches: those after it.
    """

    is_later: bool
    rows: pa.Table
    batches: Iterator[pa.Table]

    @property
    def last(self) -> str:
        return str(self.rows["key"][-1].as_py())

    def take(self, up_to: str) -> pa.Table:
        """Takes the rows of the current batch whose key is not above a bound."""
        end = _num_up_to(self.rows["key"], up_to)
        taken, self.rows = self.rows.slice(0, end), self.rows.slice(end)
        return taken

    def refill(self) -> bool:
        """Whether there are rows left."""
        while not self.rows.num_rows:
            batch = next(self.batches, None)
            if batch is None:
                return False
            self.rows = batch
        return True


def changes(
    earlier: TableVersion | None,
    later: TableVersion,
    columns: Sequence[str],
    rows_per_range: int,
    above: str | None = None,
) -> Iterator[RangeChanges]:
    """Yields what changed from one version to the other, range by range.

    The ranges cover all keys above `above`; the last one is open. They depend on the arguments
    only.

    Args:
        earlier: None for an empty table.
        later: a later version of the same table.
        columns: to read and to compare, with `key`; those that a version lacks are null in it.
        rows_per_range: rows to read, of both versions, before a range ends.
        above: skip keys up to this one.

    Raises:
        VersionGoneError: a file of one of the versions exists no more.
        OutputFailedError: the storage cannot be read.
    """
    schema = pa.schema([later.schema.field(name) for name in columns])
    files = _differing_files(earlier, later, above)
    names = set(later.store.names())
    if gone := sorted(name for _, name, _ in files if name not in names):
        raise VersionGoneError(f"out: {gone[0]} of {later.store.uri} exists no more")
    pieces: dict[bool, list[pa.Table]] = {False: [], True: []}
    num_read = 0
    with output_failures(later.store.uri):
        batches = min(_BATCH_ROWS, max(1, rows_per_range // 4))
        for bound, is_later, rows in _merged(later.store.arrow(), files, schema, above, batches):
            if rows is not None:
                pieces[is_later].append(rows)
                num_read += rows.num_rows
            elif num_read >= rows_per_range:
                yield _range_changes(above, bound, pieces, schema, num_read)
                pieces, num_read, above = {False: [], True: []}, 0, bound
    yield _range_changes(above, None, pieces, schema, num_read)


def _differing_files(
    earlier: TableVersion | None, later: TableVersion, above: str | None
) -> list[tuple[str, str, bool]]:
    """Least key, name and side of the files that only one of the versions has."""
    before = {} if earlier is None else earlier.files
    sides = ((before, later.files, False), (later.files, before, True))
    return sorted(
        (low, name, is_later)
        for files, others, is_later in sides
        for name, (low, high, _) in files.items()
        if name not in others and (above is None or high > above)
    )


def num_differing_rows(earlier: TableVersion | None, later: TableVersion) -> int:
    """Rows that `changes` reads for all keys."""
    before = {} if earlier is None else earlier.files
    return sum(
        num_rows
        for files, others in ((before, later.files), (later.files, before))
        for name, (_, _, num_rows) in files.items()
        if name not in others
    )


def _merged(
    filesystem: Any,
    files: list[tuple[str, str, bool]],
    schema: pa.Schema,
    above: str | None,
    batch_rows: int,
) -> Iterator[tuple[str, bool, pa.Table | None]]:
    """Rows in the order of their keys: all up to some key, then that key without rows."""
    waiting = list(reversed(files))
    num_rows = min(batch_rows, max(64, _OPEN_ROWS // max(1, len(files))))
    streams: list[_FileStream] = []

    def open_next() -> None:
        _, name, is_later = waiting.pop()
        batches = sorted_batches(filesystem, name, schema, num_rows, above or "")
        stream = _FileStream(is_later, schema.empty_table(), batches)
        while stream.refill():
            if above is not None:
                stream.take(above)
            if stream.rows.num_rows:
                streams.append(stream)
                return

    while streams or waiting:
        if not streams:
            open_next()
            continue
        bound = min(stream.last for stream in streams)
        if waiting and waiting[-1][0] <= bound:
            open_next()
            continue
        for stream in streams:
            if (rows := stream.take(bound)).num_rows:
                yield bound, stream.is_later, rows
        streams = [stream for stream in streams if stream.refill()]
        yield bound, False, None


def _range_changes(
    above: str | None,
    up_to: str | None,
    pieces: dict[bool, list[pa.Table]],
    schema: pa.Schema,
    num_read: int,
) -> RangeChanges:
    old, new = (
        pa.concat_tables([schema.empty_table(), *pieces[is_later]]).combine_chunks()
        for is_later in (False, True)
    )
    new = new.sort_by("key")
    position = pc.index_in(new["key"], value_set=old["key"])
    is_known = pc.is_valid(position)
    is_same = same_rows(old.take(position.drop_null()), new.filter(is_known))
    is_written = np.ones(new.num_rows, dtype=np.bool_)
    is_written[is_known.to_numpy()] = ~is_same
    is_gone = pc.invert(pc.is_in(old["key"], value_set=new["key"]))
    removed = old["key"].filter(is_gone).combine_chunks()
    return RangeChanges(above, up_to, new.filter(pa.array(is_written)), removed, num_read)


def _num_up_to(keys: pa.ChunkedArray, bound: str) -> int:
    """How many of these sorted keys are not above a bound."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if keys[middle].as_py() <= bound else (low, middle)
    return low
