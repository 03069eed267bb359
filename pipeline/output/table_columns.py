"""Columns of tables that earlier versions began: whether rows of this one go into them.

Knows schemas of Delta tables; nothing of runs.
"""

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema

from pipeline.errors import UsageError
from pipeline.records import AUDIT_COLUMNS

__all__ = ["add_missing_columns", "check_columns"]


def check_columns(delta: DeltaTable, schema: pa.Schema) -> None:
    """Makes sure that rows of a schema go into a table; into one without rows any do.

    Columns of an audit may be missing in it, as in tables of versions that had none.

    Raises:
        UsageError: it has other columns.
    """
    if not pa.table(delta.get_add_actions(flatten=True)).num_rows:
        return
    there = {field.name for field in delta.schema().fields}
    needed = [field for field in schema if field.name in there or field.name not in AUDIT_COLUMNS]
    if delta.schema() != Schema.from_arrow(pa.schema(needed)):
        raise UsageError(
            f"out: {delta.table_uri} has other columns than this version of dvt, or this job, "
            "writes; choose another --out, or --overwrite to start anew"
        )


def add_missing_columns(delta: DeltaTable, schema: pa.Schema) -> None:
    """Adds the columns of a schema that a table lacks; they are null in its rows."""
    there = {field.name for field in delta.schema().fields}
    delta.alter.add_columns(
        [field for field in Schema.from_arrow(schema).fields if field.name not in there],
        commit_properties=CommitProperties(max_commit_retries=0),
    )
