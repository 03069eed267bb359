"""Compares an output's tables with what it counts as done, and opens lost rows' shards again.

Rows can be lost without a trace in the log: a copy that was cut off, files removed by hand, a disk
that lost its last writes. What counts as done is then too much, and a run would skip it.

- A committed file that is missing leaves the log.
- `shards` must not count more rows than the other tables have.
- `_SUCCESS` has the row count and the last commit of each table.

Where one of these is violated, all shards leave `shards`. The run then looks up each image by its
key (`resume.py`) and does again exactly what is lost.
"""

import logging
from collections.abc import Callable

import pyarrow.compute as pc
from deltalake import DeltaTable

from pipeline.errors import OutputFailedError
from pipeline.output.delta_log import last_commit, num_rows, number_of
from pipeline.output.delta_table import OutputTable
from pipeline.output.metadata import Completion, TableState
from pipeline.output.tables import COUNT_COLUMNS, Tables
from pipeline.units import counted

__all__ = ["check_files", "difference", "reopen_damaged", "rows_in_shards", "table_states"]

logger = logging.getLogger(__name__)


def table_states(tables: Tables) -> dict[str, TableState]:
    """What `_SUCCESS` records of each table."""
    return {
        name: TableState(rows=table.num_rows, last_commit=last_commit(table.log.delta))
        for name, table in tables.by_name.items()
    }


def rows_in_shards(shards: OutputTable) -> dict[str, int]:
    """Rows of the other tables that the finished shards count."""
    rows = shards.scan(list(COUNT_COLUMNS.values()))
    return {table: pc.sum(rows[column]).as_py() or 0 for table, column in COUNT_COLUMNS.items()}


def difference(delta: DeltaTable, recorded: TableState) -> str | None:
    """How a table differs from its record in `_SUCCESS`; None if it does not."""
    commit = recorded.last_commit
    if commit is not None and number_of(delta, commit[0]) != commit[1]:
        return "lost its last commits"
    # A later run may have recorded finished shards before it was killed.
    if last_commit(delta) == commit and num_rows(delta) != recorded.rows:
        return f"has {num_rows(delta):,} rows instead of {recorded.rows:,}"
    return None


def reopen_damaged(
    tables: Tables,
    mark_incomplete: Callable[[], None],
    is_finished: bool,
    completion: Completion | None,
) -> None:
    """Removes missing files from the logs, and all shards if rows are lost.

    Args:
        tables: as this run opened them.
        mark_incomplete: deletes `_SUCCESS`.
        is_finished: there is a `_SUCCESS`.
        completion: what it says; None if it cannot be read.
    """
    by_name = tables.by_name
    missing = {name: table.missing_files() for name, table in by_name.items()}
    lost = {name: len(files) for name, files in missing.items() if files}
    damage = [f"{name} lacks {counted(number, 'file')}" for name, number in lost.items()]
    if not damage and is_finished and completion is None:
        damage = ["_SUCCESS is damaged"]
    elif not damage and completion is not None:
        for name, recorded in completion.tables.items():
            found = difference(by_name[name].log.delta, recorded)
            damage += [f"{name} {found}"] if found else []
    if not damage:
        for name, num_counted in rows_in_shards(tables.shards).items():
            rows = by_name[name].num_rows
            if num_counted > rows:
                damage.append(f"{name} has {rows:,} rows where shards count {num_counted:,}")
    if not damage:
        return
    logger.warning(
        "the output is damaged (%s): every image is looked up, and lost results are computed again",
        "; ".join(damage),
    )
    mark_incomplete()
    if names := tables.shards.log.file_names():
        tables.shards.log.commit([], names)
    for name, table in tables.of_files.items():
        if missing[name]:
            table.log.commit([], missing[name])


def check_files(table: OutputTable) -> None:
    """Checks that the committed files of a table are there.

    Raises:
        OutputFailedError: one is missing.
    """
    for name in table.missing_files():
        raise OutputFailedError(
            f"out: {name} is missing in {table.store.uri}; the same command computes its rows again"
        )
