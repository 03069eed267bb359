"""Rows of `tags` as documents: what an index holds of an image."""

import re
from dataclasses import dataclass
from itertools import repeat
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from dvt.labels import imagenet
from jobs.index.state import VectorSpace
from jobs.index.vectors import EMBEDDING, as_matrix, as_vectors, is_vector, model_of
from jobs.index.words import words_of
from pipeline.errors import UsageError
from pipeline.output.changes import TableVersion
from pipeline.output.metadata import ModelIdentity
from pipeline.output.sorted_files import sorted_batches
from pipeline.records import TAGS_SCHEMA
from pipeline.storage import output_failures

__all__ = ["VECTOR", "Documents"]

VECTOR = "vector"
"""Column of the model's embeddings."""

_NEEDED = (
    *("key", "uri", "label", "confidence", "top_labels", "top_scores", "exit_stage"),
    *("width", "height", "etag"),
)
_TAKEN = (*_NEEDED[:-1], "groups", "group_scores")
_LOCAL_ETAG = re.compile(r"([0-9a-f]+)-[0-9a-f]+")


@dataclass(frozen=True)
class Documents:
    """Makes documents from the rows of one table.

    Attributes:
        columns: of `tags` that are read.
        schema: of the documents.
        space: of the embeddings; None if there are none.
        is_imagenet: the model has ImageNet's classes.
    """

    columns: tuple[str, ...]
    schema: pa.Schema
    space: VectorSpace | None
    is_imagenet: bool

    @classmethod
    def of(cls, tags: TableVersion, model: ModelIdentity) -> Self:
        """The documents of a table.

        Args:
            tags: its newest version.
            model: of the run.

        Raises:
            UsageError: the table is none of dvt.
        """
        names = tags.schema.names
        if missing := [name for name in _NEEDED if name not in names]:
            raise UsageError(f"out: tags of {tags.store.uri} have no column {missing[0]}")
        space = _space(tags, model.digest)
        kept = [
            field
            for field in tags.schema
            if field.name not in TAGS_SCHEMA.names
            and not (pa.types.is_nested(field.type) or pa.types.is_binary(field.type))
        ]
        taken = [_plain(tags.schema.field(name)) for name in _TAKEN if name in names]
        own = [
            pa.field("folder", pa.string()),
            pa.field("size_bytes", pa.int64()),
            pa.field("words", pa.list_(pa.string())),
        ]
        if space is not None:
            own.append(pa.field(VECTOR, pa.list_(pa.float16(), space.width)))
        used = {field.name for field in (*taken, *own)}
        kept_fields = [
            pa.field(f"input_{field.name}" if field.name in used else field.name, field.type)
            for field in kept
        ]
        columns = [*(field.name for field in taken), "etag", *(field.name for field in kept)]
        if space is not None:
            columns.append(EMBEDDING)
        is_imagenet = model.num_classes == imagenet.NUM_CLASSES
        return cls(tuple(columns), pa.schema([*taken, *own, *kept_fields]), space, is_imagenet)

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the passed-through columns in the documents."""
        own = (*_TAKEN, "folder", "size_bytes", "words", VECTOR)
        return tuple(name for name in self.schema.names if name not in own)

    @property
    def derived(self) -> tuple[str, ...]:
        """Columns of `tags` that are the same where label, confidence and etag are."""
        wide = ("top_labels", "top_scores", EMBEDDING)
        return tuple(name for name in wide if name in self.columns)

    def make(self, rows: pa.Table) -> pa.Table:
        """The documents of rows with `columns`."""
        groups = rows["groups"].to_pylist() if "groups" in rows.schema.names else [None] * len(rows)
        words = map(words_of, rows["label"].to_pylist(), groups, repeat(self.is_imagenet))
        columns = {f"input_{name}": rows[name] for name in rows.schema.names}
        columns |= {name: rows[name] for name in rows.schema.names}
        columns |= {
            "folder": pc.replace_substring_regex(rows["key"], r"(^|/)[^/]*$", ""),
            "size_bytes": pa.array(map(_size, *_texts(rows, "uri", "etag")), pa.int64()),
            "words": pa.array(words, pa.list_(pa.string())),
        }
        if self.space is not None:
            columns[VECTOR] = as_vectors(rows[EMBEDDING], self.space.width)
        return pa.table(
            [columns[name] for name in self.schema.names], names=self.schema.names
        ).cast(self.schema)


def _plain(field: pa.Field) -> pa.Field:
    """The field with Arrow's name for the values of lists: LanceDB uses no index after a cast."""
    is_list = pa.types.is_list(field.type)
    return pa.field(field.name, pa.list_(field.type.value_type) if is_list else field.type)


def _texts(rows: pa.Table, *names: str) -> list[list[str | None]]:
    return [rows[name].to_pylist() for name in names]


def _size(uri: str | None, etag: str | None) -> int | None:
    """Bytes of a local file, from its etag; None for others."""
    if uri is None or etag is None or not uri.startswith("file://") or "#" in uri:
        return None
    match = _LOCAL_ETAG.fullmatch(etag)
    return None if match is None else int(match[1], 16)


def _space(tags: TableVersion, model: str) -> VectorSpace | None:
    """The space of the embeddings; None if there are none yet."""
    if EMBEDDING not in tags.schema.names:
        return None
    field = tags.schema.field(EMBEDDING)
    if not is_vector(field.type):
        raise UsageError(f"out: {EMBEDDING} in {tags.store.uri} holds {field.type}, not vectors")
    schema = pa.schema([tags.schema.field("key"), field])
    with output_failures(tags.store.uri):
        for name in sorted(tags.files):
            for rows in sorted_batches(tags.store.arrow(), name, schema, 1024):
                matrix, _ = as_matrix(rows[EMBEDDING])
                if len(matrix):
                    return VectorSpace(width=matrix.shape[1], model=model_of(field) or model)
    return None
