"""The write actor: joins answers into Parquet files, beside the coordinator."""

import pyarrow as pa

from pipeline.errors import OutputFailedError
from pipeline.output.parquet_files import FileWriter, UnwrittenFile, WrittenFile

__all__ = ["WriteActor"]


class WriteActor:
    """Writes files of the `tags` table; the coordinator commits them.

    Args:
        writer: of the table.
    """

    def __init__(self, writer: FileWriter) -> None:
        self._writer = writer

    def reset(self) -> None:
        """Answers once the actor is up."""

    def write(self, *tables: pa.Table) -> WrittenFile | UnwrittenFile:
        """One file with the rows of all tables, or why the storage does not take it."""
        try:
            return self._writer.write(pa.concat_tables(tables))
        except OutputFailedError as error:
            return UnwrittenFile(str(error))
