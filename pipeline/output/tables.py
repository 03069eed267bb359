"""The tables of an output: what each is keyed by, and which of them hold the outcomes of files."""

from typing import NamedTuple

from pipeline.output.delta_table import OutputTable

__all__ = ["COUNT_COLUMNS", "SORT_COLUMNS", "Tables"]

SORT_COLUMNS = {"tags": "key", "dead_letters": "key", "other_files": "key", "shards": "shard"}
"""The tables, and the column that each file is sorted by and that is unique in the table."""

COUNT_COLUMNS = {
    "tags": "num_tagged",
    "dead_letters": "num_dead_letters",
    "other_files": "num_other_files",
}
"""The tables with one row for each file of the archive, and the column of `shards` with their
number. A key has a row in one of them."""


class Tables(NamedTuple):
    """The tables of one output, opened for a run."""

    tags: OutputTable
    dead_letters: OutputTable
    other_files: OutputTable
    shards: OutputTable

    @property
    def by_name(self) -> dict[str, OutputTable]:
        """All tables, in the order of commits."""
        return self._asdict()

    @property
    def of_files(self) -> dict[str, OutputTable]:
        """The tables of `COUNT_COLUMNS`."""
        return {name: self.by_name[name] for name in COUNT_COLUMNS}
