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
from numpy.typing import NDArray

from pipeline.errors import OutputFailedError
from pipeline.output.delta_log import open_delta
from pipeline.output.merged_files import merged_by_key
from pipeline.output.row_equality import same_rows
from pipeline.output.sorted_files import ROW, columns_with_nulls, rows_at
from pipeline.storage import OutputStore, output_failures

__all__ = ["RangeChanges", "TableVersion", "VersionGoneError", "changes", "num_differing_rows"]

_BATCH_ROWS = 4096
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


def changes(
    earlier: TableVersion | None,
    later: TableVersion,
    columns: Sequence[str],
    rows_per_range: int,
    above: str | None = None,
    derived: tuple[str, ...] = (),
) -> Iterator[RangeChanges]:
    """Yields what changed from one version to the other, range by range.

    The ranges cover all keys above `above`; the last one is open.

    Args:
        earlier: None for an empty table.
        later: a later version of the same table.
        columns: to read, with `key`; those that a version lacks are null in it.
        rows_per_range: rows to read, of both versions, before a range ends; four times as many
            where the derived columns are not read.
        above: skip keys up to this one.
        derived: of these columns, those that are the same where all others are, such as
            embeddings. They are read for changed rows only, unless a file has nulls in them.

    Raises:
        VersionGoneError: a file of one of the versions exists no more.
        OutputFailedError: the storage cannot be read.
    """
    files = _differing_files(earlier, later, above)
    names = set(later.store.names())
    if gone := sorted(name for _, name in files if name not in names):
        raise VersionGoneError(f"out: {gone[0]} of {later.store.uri} exists no more")
    with output_failures(later.store.uri):
        filesystem = later.store.arrow()
        schema = pa.schema([later.schema.field(name) for name in columns])
        lazy_names = set(derived) if earlier is not None else set()
        for _, name in files if lazy_names else ():
            lazy_names -= columns_with_nulls(filesystem, name, derived)
        lazy = pa.schema([field for field in schema if field.name in lazy_names])
        comparison = _Comparison(filesystem, schema, lazy, frozenset(later.files))
        rows_per_range *= 4 if lazy_names else 1
        batch_rows = min(_BATCH_ROWS, max(1, rows_per_range // 4))
        pieces: list[tuple[str, pa.Table]] = []
        num_read = 0
        for bound, found in merged_by_key(filesystem, files, comparison.read, batch_rows, above):
            pieces += found.items()
            num_read += sum(rows.num_rows for rows in found.values())
            if num_read >= rows_per_range:
                yield comparison.range_changes(above, bound, pieces)
                pieces, num_read, above = [], 0, bound
        yield comparison.range_changes(above, None, pieces)


def _differing_files(
    earlier: TableVersion | None, later: TableVersion, above: str | None
) -> list[tuple[str, str]]:
    """Least key and name of the files that only one of the versions has, sorted."""
    before = {} if earlier is None else earlier.files
    return sorted(
        (low, name)
        for name, (low, high, _) in (before | later.files).items()
        if (name in before) != (name in later.files) and (above is None or high > above)
    )


def num_differing_rows(earlier: TableVersion | None, later: TableVersion) -> int:
    """Rows that `changes` reads for all keys."""
    files = (earlier.files if earlier else {}) | later.files
    return sum(files[name][2] for _, name in _differing_files(earlier, later, None))


class _Comparison:
    """Compares the rows of one range.

    Args:
        filesystem: rooted in the table's folder.
        schema: of the rows.
        lazy: columns of it that are not compared, and read for changed rows only.
        later: names of the later version's files.

    Attributes:
        read: schema to read the files with.
    """

    def __init__(
        self, filesystem: Any, schema: pa.Schema, lazy: pa.Schema, later: frozenset[str]
    ) -> None:
        self._filesystem, self._schema, self._lazy = filesystem, schema, lazy
        self._later = later
        self._compared = pa.schema([field for field in schema if field.name not in lazy.names])
        place = [pa.field(ROW, pa.int64())] if lazy.names else []
        self.read = pa.schema([*self._compared, *place])

    def range_changes(
        self, above: str | None, up_to: str | None, pieces: list[tuple[str, pa.Table]]
    ) -> RangeChanges:
        """The changes of a range, from all of its rows by file."""
        empty = self.read.empty_table()
        old_pieces = [rows for name, rows in pieces if name not in self._later]
        new_pieces = [(name, rows) for name, rows in pieces if name in self._later]
        old = pa.concat_tables([empty, *old_pieces]).select(self._compared.names)
        new = pa.concat_tables([empty, *(rows for _, rows in new_pieces)])
        found = pc.index_in(new["key"], value_set=old["key"]).combine_chunks()
        in_both = np.flatnonzero(found.is_valid())
        old_rows = found.drop_null().to_numpy().astype(np.int64)
        compared = new.select(self._compared.names)
        is_written = np.ones(new.num_rows, dtype=np.bool_)
        is_written[in_both] = ~same_rows(old, compared, old_rows, in_both)
        is_gone = np.ones(old.num_rows, dtype=np.bool_)
        is_gone[old_rows] = False
        written = new.filter(pa.array(is_written))
        if self._lazy.names:
            lengths = [rows.num_rows for _, rows in new_pieces]
            piece_of = np.repeat(np.arange(len(lengths)), lengths)[is_written]
            written = self._with_lazy(written, [name for name, _ in new_pieces], piece_of)
        return RangeChanges(
            above,
            up_to,
            written.select(self._schema.names).sort_by("key"),
            old["key"].filter(pa.array(is_gone)).combine_chunks(),
            old.num_rows + new.num_rows,
        )

    def _with_lazy(self, rows: pa.Table, names: list[str], piece_of: NDArray[np.int64]) -> pa.Table:
        """Rows with the lazy columns, read from their files.

        Args:
            rows: N of them.
            names: file of each piece.
            piece_of: number of each row's piece, [N].
        """
        ids = {name: number for number, name in enumerate(dict.fromkeys(names))}
        file_of = np.array([ids[name] for name in names], dtype=np.int64)[piece_of]
        numbers = rows[ROW].to_numpy()
        pieces = [pa.schema([*rows.schema, *self._lazy]).empty_table()]
        for name, file in ids.items():
            if not (mask := file_of == file).any():
                continue
            some = rows.filter(pa.array(mask))
            read = rows_at(self._filesystem, name, self._lazy, numbers[mask])
            for field in self._lazy:
                some = some.append_column(field, read[field.name])
            pieces.append(some)
        return pa.concat_tables(pieces)
