"""`index.json`: which version of `tags` an index holds, and how far a call has come with the next.

It is written after the rows that it counts. A call that was killed in between applies a range of
keys twice, which changes nothing.
"""

from typing import Final, Literal

from pydantic import ValidationError

from dvt.validation import FrozenModel, first_problem
from pipeline.errors import UsageError
from pipeline.storage import OutputStore

__all__ = [
    "STATE_FILE",
    "IndexKind",
    "IndexState",
    "PendingVersion",
    "VectorSpace",
    "read_state",
    "write_state",
]

STATE_FILE: Final = "index.json"

IndexKind = Literal["lancedb", "opensearch", "elasticsearch", "parquet-npy"]


class VectorSpace(FrozenModel):
    """Vectors that can be compared with each other.

    Attributes:
        width: numbers in a vector.
        model: digest of the model that computed them; None for vectors computed elsewhere.
        trained_rows: rows of the table when its vector index was trained; 0 without one.
        typical_similarity: median cosine similarity of random pairs.
        recall_at_10: share of the 10 nearest vectors that the vector index finds.
        num_changed: documents changed since these two were measured.
    """

    width: int
    model: str | None = None
    trained_rows: int = 0
    typical_similarity: float = 0.0
    recall_at_10: float | None = None
    num_changed: int = 0


class PendingVersion(FrozenModel):
    """The version that is being applied.

    Attributes:
        version: of `tags`.
        compares_all: all rows are compared with the index, because the earlier version is gone.
        done_to: keys up to this one are done; None at the start.
        num_parts: ranges of keys that are done.
    """

    version: int
    compares_all: bool = False
    done_to: str | None = None
    num_parts: int = 0


class IndexState(FrozenModel):
    """What an index holds.

    Attributes:
        out: the output it was made from.
        table: identity of its `tags` table.
        columns: of the documents, with their types.
        spaces: vector spaces by name.
        applied: version of `tags`; None before the first is complete.
        pending: None between two calls, unless the last one was killed.
        is_finished: the search indexes hold all documents.
    """

    format: Literal[1] = 1
    kind: IndexKind
    out: str
    table: str
    columns: dict[str, str]
    spaces: dict[str, VectorSpace]
    applied: int | None = None
    pending: PendingVersion | None = None
    is_finished: bool = False


def read_state(store: OutputStore) -> IndexState | None:
    """Reads `index.json`; None if there is none.

    Raises:
        UsageError: it is damaged or of another version.
    """
    content = store.read(STATE_FILE)
    if content is None:
        return None
    try:
        return IndexState.model_validate_json(content)
    except ValidationError as error:
        raise UsageError(
            f"index: {STATE_FILE} in {store.uri} is damaged or of another version of dvt "
            f"({first_problem(error)}); dvt index --overwrite builds it anew"
        ) from error


def write_state(store: OutputStore, state: IndexState) -> None:
    """Writes `index.json`, replacing the earlier one in one step."""
    store.write(STATE_FILE, state.model_dump_json(indent=1).encode())
