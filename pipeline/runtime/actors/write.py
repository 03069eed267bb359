"""The write actor: joins tables of tags into Parquet files, on the coordinator's node."""

import pyarrow as pa

from pipeline.errors import OutputFailedError
from pipeline.logs import configure_worker_logging
from pipeline.output.parquet_files import FileWriter, WrittenFile

__all__ = ["WriteActor"]


class WriteActor:
    """Writes files of the `tags` table, which the coordinator commits.

    Args:
        writer: of the table.
    """

    def __init__(self, writer: FileWriter) -> None:
        configure_worker_logging()
        self._writer = writer

    def reset(self) -> None:
        """Returns once the actor is up."""

    def write(self, *tables: pa.Table) -> WrittenFile:
        """Writes one file with the rows of all tables.

        Raises:
            OutputFailedError: the storage does not accept it, or the rows cannot be written.
        """
        try:
            return self._writer.write(pa.concat_tables(tables))
        except (pa.ArrowException, TypeError, ValueError) as error:  # the same on every attempt
            line = " ".join(str(error).split())[:300]
            raise OutputFailedError(f"out: the tags cannot be written: {line}") from error
