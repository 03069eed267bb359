"""Measures the vector index against exact search, on a sample of its own vectors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.index.vectors import as_matrix

if TYPE_CHECKING:
    from lancedb.table import Table

__all__ = ["NPROBES", "REFINE_FACTOR", "Measured", "measure", "nearest"]

NPROBES, REFINE_FACTOR = 20, 5
_NUM_QUERIES, _NUM_PAIRED, _NEAREST = 32, 512, 10


@dataclass(frozen=True)
class Measured:
    """Figures of a vector index.

    Attributes:
        recall_at_10: share of the 10 nearest vectors that the index finds; None without vectors.
        typical_similarity: median cosine similarity of random pairs; 0 without vectors.
    """

    recall_at_10: float | None
    typical_similarity: float


def measure(table: "Table", column: str, num_rows: int) -> Measured:
    """Measures the index of a vector column; the sample depends on the number of rows only."""
    vectors = _sample(table, column, num_rows)
    if len(vectors) < 2:
        return Measured(None, 0.0)
    similarities = vectors @ vectors.T
    typical = float(np.median(similarities[~np.eye(len(vectors), dtype=np.bool_)]))
    found = [_share_found(table, column, vector) for vector in vectors[:_NUM_QUERIES]]
    return Measured(round(float(np.mean(found)), 4), round(typical, 4))


def nearest(table: "Table", column: str, vector: NDArray[np.float32], limit: int) -> Any:
    """A query for the nearest vectors, with the effort that the recall was measured for."""
    query: Any = table.search(vector, vector_column_name=column)
    return query.distance_type("cosine").nprobes(NPROBES).refine_factor(REFINE_FACTOR).limit(limit)


def _sample(table: "Table", column: str, num_rows: int) -> NDArray[np.float32]:
    size = min(num_rows, _NUM_PAIRED)
    offsets = np.random.default_rng(num_rows).choice(num_rows, size, replace=False)
    rows: pa.Table = table.take_offsets(sorted(offsets.tolist())).select([column]).to_arrow()
    return as_matrix(rows[column])[0]


def _share_found(table: "Table", column: str, vector: NDArray[np.float32]) -> float:
    """By distance, since several vectors may be equally near."""
    query = nearest(table, column, vector, _NEAREST).select(["_distance"])
    exact = nearest(table, column, vector, _NEAREST).bypass_vector_index().select(["_distance"])
    found, best = (np.array(q.to_arrow()["_distance"].to_pylist()) for q in (query, exact))
    return float(np.mean(found <= best.max() + 1e-4)) * len(found) / len(best) if len(best) else 1.0
