"""Other files: what of the archive is no picture, by kind, with examples."""

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["OtherFileKind", "OtherFileTotals"]

_EXAMPLES_PER_KIND = 3


@dataclass(frozen=True)
class OtherFileKind:
    """A kind, the number of its files, and the first of them by key."""

    kind: str
    num_files: int
    examples: tuple[str, ...]


class OtherFileTotals:
    """Running totals over `other_files`."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("key", "kind")

    def __init__(self) -> None:
        self._num_files: dict[str, int] = {}
        self._examples: dict[str, list[str]] = {}

    @property
    def num_files(self) -> int:
        """Other files so far."""
        return sum(self._num_files.values())

    def add(self, rows: pa.Table) -> None:
        """Adds one batch."""
        for kind in pc.unique(rows["kind"]).to_pylist():
            keys = rows.filter(pc.equal(rows["kind"], kind))["key"]
            self._num_files[kind] = self._num_files.get(kind, 0) + len(keys)
            first = keys.take(pc.sort_indices(keys)[:_EXAMPLES_PER_KIND]).to_pylist()
            known = self._examples.get(kind, [])
            self._examples[kind] = sorted(known + first)[:_EXAMPLES_PER_KIND]

    def kinds(self) -> tuple[OtherFileKind, ...]:
        """All kinds, most frequent first."""
        ranked = sorted(self._num_files.items(), key=lambda item: (-item[1], item[0]))
        return tuple(
            OtherFileKind(kind, number, tuple(self._examples[kind])) for kind, number in ranked
        )
