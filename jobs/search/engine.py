"""Finds images in an index, best first."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.index.lance_table import index_failures, open_table, text, vector_column
from jobs.index.recall import nearest
from jobs.index.state import IndexState, read_state
from jobs.index.vectors import as_matrix
from jobs.search.picture import embed_picture
from jobs.search.query import FilterOptions, condition
from jobs.search.scoring import Hit, WordScore, visual_score, weak_from, word_score
from pipeline.errors import UsageError
from pipeline.storage import open_output_store
from pipeline.storage.local_files import file_uri

__all__ = ["Found", "ImageIndex"]

_CONFIDENCES = (0.99, None, 0.9, 0.5)
"""Candidates by words alone are searched among confident images first, since each image of a label
matches as well; then among all (None); and where too many match, among fewer again."""

_LEAST_CANDIDATES = 100
_HYBRID_NEIGHBOURS = 100
_COLUMNS = (
    *("key", "uri", "label", "confidence", "exit_stage", "width", "height", "words"),
    *("groups", "group_scores"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """The result of a search.

    Attributes:
        hits: best first.
        weak_from: position of the first weak hit; see `jobs.search.scoring`.
    """

    hits: tuple[Hit, ...]
    weak_from: int


class ImageIndex:
    """A LanceDB index, opened for searching; safe to use while it is being updated.

    Args:
        location: a folder, or `s3://bucket/prefix`.

    Raises:
        UsageError: it is no such index, or it has no documents yet.
        OutputFailedError: it cannot be read.
    """

    def __init__(self, location: str | Path) -> None:
        self.store = open_output_store(location)
        state = read_state(self.store)
        if state is None:
            raise UsageError(f"index: {self.store.uri} is no index of dvt (it has no index.json)")
        if state.kind != "lancedb":
            raise UsageError(
                f"index: {self.store.uri} has the format {state.kind}; only lancedb is searched"
            )
        self.state: IndexState = state
        self.table = open_table(self.store)
        names = self.table.schema.names
        self._columns = [name for name in _COLUMNS if name in names]

    def search(
        self,
        words: str = "",
        vector: NDArray[np.float32] | None = None,
        filters: FilterOptions | None = None,
        top_k: int = 20,
        space: str = "embedding",
    ) -> Found:
        """The images that fit best; without words and vector, the most confident ones.

        Args:
            words: searched in labels, synonyms, groups and keys; may be empty.
            vector: of an example picture, [D].
            filters: only images that pass all of them are found.
            top_k: number of hits.
            space: that the vector belongs to.

        Raises:
            UsageError: the index has no such space.
            OutputFailedError: a filter is not valid, or the index cannot be read.
        """
        filters = filters or FilterOptions()
        column = None if vector is None else self.column(space)
        with index_failures(self.store.uri):
            tokens = self._tokens(words)
            rows: dict[str, dict[str, Any]] = {}
            num_candidates = max(_LEAST_CANDIDATES, 5 * top_k)
            if tokens:
                rows |= self._by_words(words, tokens, filters, num_candidates, top_k, column)
            if vector is not None and column is not None:
                num_nearest = max(top_k, _HYBRID_NEIGHBOURS) if tokens else top_k
                query = nearest(self.table, column, vector, num_nearest)
                rows |= self._fetched(query, condition(filters), column)
            if not words.strip() and vector is None:
                rows = self._most_confident(filters, top_k)
            self._add_word_scores(rows.values(), tokens)
        typical = self.state.spaces[space].typical_similarity if column else 0.0
        for row in rows.values():
            _add_score(row, bool(tokens), vector, typical)
        best = sorted(rows.values(), key=lambda row: (-row["score"], row["key"]))[:top_k]
        hits = tuple(_hit(row) for row in best)
        return Found(hits, weak_from(hits))

    def column(self, space: str) -> str:
        """Column of a vector space.

        Raises:
            UsageError: the index has no such space.
        """
        if space not in self.state.spaces:
            allowed = ", ".join(self.state.spaces) or "none: it is an index of words only"
            raise UsageError(
                f"space: {self.store.uri} has no vectors {space!r}; allowed are {allowed}"
            )
        return vector_column(space)

    def vector_of(self, key: str, space: str = "embedding") -> NDArray[np.float32]:
        """Vector of an indexed image, [D].

        Raises:
            UsageError: there is no such image, or it has no vector.
        """
        return self._vector(f"key = {text(key)}", self.column(space), f"like: {key!r}")

    def vector_of_picture(self, file: Path) -> NDArray[np.float32]:
        """Vector of a picture: that of the indexed image if it is one, else computed, [D].

        Raises:
            UsageError: the picture cannot be embedded.
        """
        column = self.column("embedding")
        if not file.is_file():
            raise UsageError(f"image: there is no file {file}")
        uri = file_uri(str(file.absolute()).encode())
        try:
            return self._vector(f"uri = {text(uri)}", column, "")
        except UsageError:
            return embed_picture(self.state.out, self.state.spaces["embedding"].model, file)

    def _vector(self, where: str, column: str, name: str) -> NDArray[np.float32]:
        with index_failures(self.store.uri):
            query: Any = self.table.search()
            rows: pa.Table = query.where(where).select([column]).limit(1).to_arrow()
        matrix, _ = as_matrix(rows[column]) if rows.num_rows else (np.empty((0, 0)), None)
        if not len(matrix):
            missing = "has no vector" if rows.num_rows else "is not in the index"
            raise UsageError(f"{name} {missing}")
        vector: NDArray[np.float32] = matrix[0]
        return vector

    def _tokens(self, words: str) -> list[str]:
        found = self.table.tokenize(words, index_name="words_fts") if words.strip() else ()
        return list(dict.fromkeys(token.text for token in found))

    def _tokens_of(self, texts: Sequence[str]) -> dict[str, frozenset[str]]:
        """Tokens of many texts in one call, which has a cost of its own."""
        if not texts:
            return {}
        tokens: list[set[str]] = [set()]
        separator = f"q{secrets.token_hex(8)}q"  # a random word, so that no name has it
        joined = f"\n{separator}\n".join(texts)
        for token in self.table.tokenize(joined, index_name="words_fts"):
            if token.text == separator:
                tokens.append(set())
            else:
                tokens[-1].add(token.text)
        return {word: frozenset(found) for word, found in zip(texts, tokens, strict=True)}

    def _by_words(
        self,
        words: str,
        tokens: list[str],
        filters: FilterOptions,
        num_candidates: int,
        top_k: int,
        column: str | None,
    ) -> dict[str, dict[str, Any]]:
        from lancedb.query import FullTextOperator, MultiMatchQuery

        rows: dict[str, dict[str, Any]] = {}
        for least in _CONFIDENCES if column is None else (None,):
            others = () if least is None else (f"confidence >= {least}",)
            match = MultiMatchQuery(
                words, ["words", "key"], boosts=[2.0, 1.0], operator=FullTextOperator.OR
            )
            query: Any = self.table.search(match, query_type="fts").limit(num_candidates)
            found = self._fetched(query, condition(filters, *others), column)
            rows = found | rows
            if least is None:
                if len(found) < num_candidates:  # these are all
                    break
                continue
            self._add_word_scores(found.values(), tokens)
            matched = [row["by_words"].num_matched for row in found.values()]
            if matched.count(len(tokens)) >= top_k:
                break
        return rows

    def _most_confident(self, filters: FilterOptions, top_k: int) -> dict[str, dict[str, Any]]:
        from lancedb.query import ColumnOrdering

        order = ColumnOrdering(column_name="confidence", ascending=False, nulls_first=False)
        query: Any = self.table.search()
        return self._fetched(query.order_by([order]).limit(top_k), condition(filters), None)

    def _fetched(
        self, query: Any, where: str | None, column: str | None
    ) -> dict[str, dict[str, Any]]:
        if where is not None:
            query = query.where(where)
        columns = self._columns if column is None else [*self._columns, column]
        rows: pa.Table = query.select(columns).to_arrow()
        names = [name for name in rows.schema.names if name in self._columns]
        found = rows.select(names).to_pylist()
        if column is not None:
            matrix, is_there = as_matrix(rows[column])
            vectors = iter(matrix)
            for row, has_vector in zip(found, is_there, strict=True):
                row["vector"] = next(vectors) if has_vector else None
        return {row["key"]: row for row in found}

    def _add_word_scores(self, rows: Iterable[dict[str, Any]], tokens: list[str]) -> None:
        """Adds `by_words` to the rows that lack it."""
        new = [row for row in rows if "by_words" not in row]
        texts = dict.fromkeys(part for row in new for part in (row["key"], *row["words"]))
        tokens_of = self._tokens_of(list(texts)) if tokens else {}
        for row in new:
            row["by_words"] = word_score(tokens, row, tokens_of)


def _add_score(
    row: dict[str, Any], has_words: bool, vector: NDArray[np.float32] | None, typical: float
) -> None:
    """Adds `score`, `similarity` and `reasons` to a row."""
    by_words: WordScore = row["by_words"]
    scores = [by_words.score] if has_words else []
    reasons = list(by_words.reasons)
    similarity = None
    if vector is not None:
        if row["vector"] is not None:
            similarity = float(vector @ row["vector"])
            reasons.append(f"similarity {similarity:.2f}")
        scores.append(0.0 if similarity is None else visual_score(similarity, typical))
    if not scores:
        scores.append(row["confidence"] or 0.0)
        reasons.append("passes the filters")
    row |= {
        "score": round(sum(scores) / len(scores), 4),
        "similarity": None if similarity is None else round(similarity, 4),
        "reasons": reasons,
    }


def _hit(row: dict[str, Any]) -> Hit:
    return Hit(
        key=row["key"],
        uri=row["uri"],
        label=row["label"],
        confidence=row["confidence"],
        groups=tuple(row.get("groups") or ()),
        exit_stage=row["exit_stage"],
        width=row["width"],
        height=row["height"],
        score=row["score"],
        similarity=row["similarity"],
        reasons=tuple(row["reasons"]),
    )
