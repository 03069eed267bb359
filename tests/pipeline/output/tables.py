"""The tables of an output without the output round them."""

from pathlib import Path

from pipeline.output.delta_table import OutputTable
from pipeline.records import DEAD_LETTERS_SCHEMA, SHARDS_SCHEMA, TAGS_SCHEMA
from pipeline.storage import open_output_store


def tables_in(location: str | Path, epoch: int) -> tuple[OutputTable, OutputTable, OutputTable]:
    """Tags, dead letters and shards, as the run of an epoch opens them."""
    place = open_output_store(location)
    place.prepare()
    return (
        OutputTable(place.child("tags"), TAGS_SCHEMA, epoch, "key"),
        OutputTable(place.child("dead_letters"), DEAD_LETTERS_SCHEMA, epoch, "key"),
        OutputTable(place.child("shards"), SHARDS_SCHEMA, epoch, "shard"),
    )
