"""Merges files that are sorted by key into one stream, a few rows at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.output.sorted_files import sorted_batches

__all__ = ["merged_by_key"]

_OPEN_ROWS = 262_144


@dataclass(slots=True)
class _FileStream:
    """A file that is being read: the rest of the current batch, and the batches after it."""

    name: str
    rows: pa.Table
    batches: Iterator[pa.Table]

    @property
    def last(self) -> str:
        return str(self.rows["key"][-1].as_py())

    def take(self, up_to: str) -> pa.Table:
        """Takes the rows of the current batch whose key is not above a bound."""
        end = _num_up_to(self.rows["key"], up_to)
        taken, self.rows = self.rows.slice(0, end), self.rows.slice(end)
        return taken

    def refill(self) -> bool:
        """Whether there are rows left."""
        while not self.rows.num_rows:
            batch = next(self.batches, None)
            if batch is None:
                return False
            self.rows = batch
        return True


def merged_by_key(
    filesystem: Any,
    files: Sequence[tuple[str, str]],
    schema: pa.Schema,
    batch_rows: int,
    above: str | None = None,
) -> Iterator[tuple[str, dict[str, pa.Table]]]:
    """Yields the rows of files in steps: a key, and all rows up to it that came in no earlier step.

    Memory holds a batch of each file whose keys overlap, and smaller batches where many do.

    Args:
        filesystem: of pyarrow, rooted in the folder of the files.
        files: least key and name, sorted.
        schema: of the rows, see `sorted_batches`.
        batch_rows: rows of a batch, at most.
        above: rows with a key up to this one are left out.

    Yields:
        The key, and rows by the name of their file.
    """
    waiting = list(reversed(files))
    num_rows = min(batch_rows, max(64, _OPEN_ROWS // max(1, len(files))))
    streams: list[_FileStream] = []

    def open_next() -> None:
        _, name = waiting.pop()
        batches = sorted_batches(filesystem, name, schema, num_rows, above or "")
        stream = _FileStream(name, schema.empty_table(), batches)
        while stream.refill():
            if above is not None:
                stream.take(above)
            if stream.rows.num_rows:
                streams.append(stream)
                return

    while streams or waiting:
        bound = min((stream.last for stream in streams), default=None)
        if bound is None or (waiting and waiting[-1][0] <= bound):
            open_next()
            continue
        taken = {stream.name: stream.take(bound) for stream in streams}
        yield bound, {name: rows for name, rows in taken.items() if rows.num_rows}
        streams = [stream for stream in streams if stream.refill()]


def _num_up_to(keys: pa.ChunkedArray, bound: str) -> int:
    """How many of these sorted keys are not above a bound."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if keys[middle].as_py() <= bound else (low, middle)
    return low
