"""The tables of an output, opened without `Output`."""

from pathlib import Path

from pipeline.output.delta_table import OutputTable
from pipeline.output.tables import SORT_COLUMNS, Tables
from pipeline.records import (
    DEAD_LETTERS_SCHEMA,
    OTHER_FILES_SCHEMA,
    SHARDS_SCHEMA,
    TAGS_SCHEMA,
)
from pipeline.storage import open_output_store

_SCHEMAS = (TAGS_SCHEMA, DEAD_LETTERS_SCHEMA, OTHER_FILES_SCHEMA, SHARDS_SCHEMA)


def tables_in(location: str | Path, epoch: int) -> Tables:
    """The tables, as the run of an epoch opens them."""
    store = open_output_store(location)
    store.prepare()
    opened = (
        OutputTable(store.child(name), schema, epoch, f"run-{epoch}", column)
        for (name, column), schema in zip(SORT_COLUMNS.items(), _SCHEMAS, strict=True)
    )
    return Tables(*opened)
