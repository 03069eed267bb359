"""Applies changes to a LanceDB table, one commit for each range of keys."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from jobs.index.joined_vectors import JoinedVectors
from jobs.index.lance_table import (
    TABLE,
    connect,
    has_table,
    index_failures,
    list_of,
    scalar_columns,
    text,
    vector_column,
)
from jobs.index.recall import measure
from jobs.index.state import VectorSpace
from jobs.index.target import DocumentChanges, UpdateMode
from pipeline.errors import UsageError
from pipeline.storage import OutputStore

if TYPE_CHECKING:
    from lancedb.table import Table

__all__ = ["LanceTarget"]

logger = logging.getLogger(__name__)

_LEAST_ROWS_TO_TRAIN = 10_000
"""Below this, the exact search is as quick."""

_MEASURE_AFTER = 0.05
"""Share of the documents that has changed when recall is measured again."""

_FTS_MEMORY_MIB = 512
# Programs that search keep a version open for a query only.
_KEEP_VERSIONS = timedelta(hours=1)


class LanceTarget:
    """A LanceDB table.

    Args:
        store: of the index.
        schema: of the documents.
        kept: passed-through columns.
        spaces: vector spaces by name; `finish` replaces them.
    """

    can_compare = True

    def __init__(
        self,
        store: OutputStore,
        schema: pa.Schema,
        kept: tuple[str, ...],
        spaces: dict[str, VectorSpace],
    ) -> None:
        self._store, self._schema, self._kept = store, schema, kept
        self.spaces = spaces
        self._connection = connect(store)
        self._table: Table | None = None

    @property
    def table(self) -> "Table":
        """The table, created if it is missing."""
        if self._table is None:
            with index_failures(self._store.uri):
                if has_table(self._connection):
                    self._table = self._connection.open_table(TABLE)
                else:
                    self._table = self._connection.create_table(TABLE, schema=self._schema)
        return self._table

    def clear(self) -> None:
        """See `Target`."""
        with index_failures(self._store.uri):
            if has_table(self._connection):
                self._connection.drop_table(TABLE)
        self._table = None

    def apply(self, changes: DocumentChanges) -> None:
        """See `Target`."""
        documents, removed = changes.written, changes.removed
        condition = None
        if changes.mode is UpdateMode.COMPARE:
            condition = _between(changes.above, changes.up_to)
        elif len(removed):
            condition = f"key IN {list_of(removed.to_pylist())}"
        with index_failures(self._store.uri):
            if not documents.num_rows:
                if condition is not None:
                    self.table.delete(condition)
            elif changes.mode is UpdateMode.FILL and not changes.is_in_doubt:
                self.table.add(documents)
            else:
                merge = self.table.merge_insert("key").when_matched_update_all()
                merge = merge.when_not_matched_insert_all()
                if condition is not None:
                    merge = merge.when_not_matched_by_source_delete(condition)
                # LanceDB counts null as a bad vector; there are no others.
                merge.execute(documents, on_bad_vectors="null")

    def join(self, vectors: JoinedVectors, record: Callable[[dict[str, VectorSpace]], None]) -> int:
        """Adds the vectors of another space to the documents that have their keys.

        Args:
            vectors: to add.
            record: receives the spaces once the table has a column for each, before the first
                vector is written.

        Returns:
            The number of vectors; those of unknown keys do not count.

        Raises:
            UsageError: the space exists with another width.
        """
        column = vector_column(vectors.name)
        space = self.spaces.get(vectors.name) or VectorSpace(width=vectors.width)
        if space.width != vectors.width:
            raise UsageError(
                f"vectors: those of {vectors.name} are {space.width} wide in {self._store.uri} "
                f"(got {vectors.width})"
            )
        with index_failures(self._store.uri):
            if column not in self.table.schema.names:
                kind = pa.list_(pa.float16(), space.width)
                self.table.add_columns(pa.schema([pa.field(column, kind)]))
            self.spaces[vectors.name] = space
            record(dict(self.spaces))
            num_joined = 0
            for rows in vectors.batches(column):
                merge = self.table.merge_insert("key").when_matched_update_all()
                num_joined += merge.execute(rows).num_updated_rows
        return num_joined

    def finish(self, num_changed: int) -> dict[str, Any]:
        """See `Target`; creates the search indexes, or adds new documents to them."""
        with index_failures(self._store.uri):
            num_documents = self.table.count_rows()
            if num_documents:
                indexes = {index.name: index for index in self.table.list_indices()}
                # At first only to join the fragments, which costs more once there are indexes.
                if not indexes or any(index.num_unindexed_rows for index in indexes.values()):
                    self.table.optimize(cleanup_older_than=_KEEP_VERSIONS)
                self._create_scalar_indexes(set(indexes))
                for name in self.spaces:
                    self._update_vector_index(name, num_documents, num_changed)
        recalls = [space.recall_at_10 for space in self.spaces.values()]
        return {
            "documents": num_documents,
            "recall_at_10": min((r for r in recalls if r is not None), default=None),
        }

    def _create_scalar_indexes(self, existing: set[str]) -> None:
        from lancedb import index

        columns = set(self._schema.names)
        configs: dict[str, tuple[str, Any]] = {
            f"{column}_{kind.lower()}": (column, getattr(index, kind)())
            for column, kind in scalar_columns(self._kept).items()
            if column in columns
        }
        for column in ("words", "key"):
            configs[f"{column}_fts"] = (
                column,
                index.FTS(remove_stop_words=False, memory_limit=_FTS_MEMORY_MIB),
            )
        for name, (column, config) in configs.items():
            if name not in existing:
                logger.debug("creating the index %s", name)
                self.table.create_index(column, config=config, name=name)

    def _update_vector_index(self, name: str, num_documents: int, num_changed: int) -> None:
        """Trains the index of a vector space, and measures it, where that is due."""
        from lancedb.index import IvfSq

        space, column = self.spaces[name], vector_column(name)
        space = space.model_copy(update={"num_changed": space.num_changed + num_changed})
        is_due = num_documents >= max(_LEAST_ROWS_TO_TRAIN, 2 * space.trained_rows)
        if is_due:
            logger.info("training the vector index of %s", name)
            self.table.create_index(
                column, config=IvfSq(distance_type="cosine"), name=f"{column}_ivf", replace=True
            )
            space = space.model_copy(update={"trained_rows": num_documents})
        if is_due or space.num_changed > _MEASURE_AFTER * num_documents:
            found = measure(self.table, column, num_documents)
            space = space.model_copy(
                update={
                    "typical_similarity": found.typical_similarity,
                    "recall_at_10": found.recall_at_10,
                    "num_changed": 0,
                }
            )
        self.spaces[name] = space


def _between(above: str | None, up_to: str | None) -> str:
    bounds = [] if above is None else [f"key > {text(above)}"]
    bounds += [] if up_to is None else [f"key <= {text(up_to)}"]
    return " AND ".join(bounds) or "true"
