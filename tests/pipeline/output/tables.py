"""The tables of an output, opened without `Output`."""

from pathlib import Path

from pipeline.output.delta_table import OutputTable
from pipeline.records import DEAD_LETTERS_SCHEMA, SHARDS_SCHEMA, TAGS_SCHEMA
from pipeline.storage import open_output_store


def tables_in(location: str | Path, epoch: int) -> tuple[OutputTable, OutputTable, OutputTable]:
    """Tags, dead letters and shards, as the run of an epoch opens them."""
    store = open_output_store(location)
    store.prepare()
    return (
        OutputTable(store.child("tags"), TAGS_SCHEMA, epoch, f"run-{epoch}", "key"),
        OutputTable(store.child("dead_letters"), DEAD_LETTERS_SCHEMA, epoch, f"run-{epoch}", "key"),
        OutputTable(store.child("shards"), SHARDS_SCHEMA, epoch, f"run-{epoch}", "shard"),
    )
