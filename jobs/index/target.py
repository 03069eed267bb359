"""What an index of any kind does with changed documents."""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import pyarrow as pa

from jobs.index.state import VectorSpace

__all__ = ["DocumentChanges", "Target", "UpdateMode"]


class UpdateMode(Enum):
    """What is known of the documents that the index holds in a range of keys."""

    FILL = "none"
    UPDATE = "those of the earlier version, or already those of the later one"
    COMPARE = "any"


@dataclass(frozen=True, slots=True)
class DocumentChanges:
    """The changes in one range of keys.

    Attributes:
        mode: with COMPARE, `written` are all documents of the range.
        version: of `tags` that is being applied.
        number: of the range in its version, from 0.
        is_in_doubt: an earlier call may have been killed after it had applied the range.
        above: the range begins after this key; None at the first one.
        up_to: its last key; None for all that follow.
        written: documents that are new or have changed, sorted by key.
        removed: keys of documents to remove.
    """

    mode: UpdateMode
    version: int
    number: int
    is_in_doubt: bool
    above: str | None
    up_to: str | None
    written: pa.Table
    removed: pa.Array


class Target(Protocol):
    """An index that is being updated."""

    can_compare: bool
    """Whether it takes the mode COMPARE."""

    spaces: dict[str, VectorSpace]
    """Vector spaces by name; `finish` may replace them."""

    def clear(self) -> None:
        """Removes all documents."""
        ...

    def apply(self, changes: DocumentChanges) -> None:
        """Applies changes durably; twice is harmless."""
        ...

    def finish(self, num_changed: int) -> dict[str, Any]:
        """Completes the index.

        Args:
            num_changed: documents written or removed by this call.

        Returns:
            Figures for the JSON line: `documents`, and `recall_at_10` where it is measured.
        """
        ...
