"""The write actor: joins answers into Parquet files, beside the coordinator."""

from pathlib import Path

import pyarrow as pa

from pipeline.table import WrittenFile, write_file

__all__ = ["WriteActor"]


class WriteActor:
    """Writes files of the `tags` table; the coordinator commits them.

    Args:
        folder: of the table.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def reset(self) -> None:
        """Answers once the actor is up."""

    def write(self, *tables: pa.Table) -> WrittenFile:
        """One file with the rows of all tables."""
        return write_file(self._folder, pa.concat_tables(tables), sort_by="key")
