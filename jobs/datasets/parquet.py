"""Parquet files with a column of encoded pictures and one of labels.

Pictures: `image` (or `img`), binary, or a struct with a field `bytes`, as Hugging Face writes it.
Labels: `label_name` (text), `label` (class id or text), or both. Keys: `key` where there is such a
column, else FILENAME/row.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.datasets.base import EncodedPicture, Label, Sample
from pipeline.errors import UsageError

__all__ = ["ParquetFiles"]

_LABELS = ("label", "label_name")
_ROWS = 32
# Pages are read as they are needed; without this, Arrow reads whole row groups, which of pictures
# may take gigabytes.
_BUFFER_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class ParquetFiles:
    """Parquet files, one after the other; rows without a label are left out."""

    paths: tuple[Path, ...]
    max_bytes: int
    class_names = None

    def labels(self) -> Iterator[Label]:
        """See `LabelledSource.labels`."""
        for path in self.paths:
            for row in _rows(path, with_pictures=False):
                label = Label.of(row.get("label"), row.get("label_name"))
                if label is not None:
                    yield label

    def samples(self) -> Iterator[Sample]:
        """See `LabelledSource.samples`."""
        for path in self.paths:
            for number, row in enumerate(_rows(path, with_pictures=True)):
                label = Label.of(row.get("label"), row.get("label_name"))
                if label is None:
                    continue
                content = row["picture"]
                if isinstance(content, dict):
                    content = content["bytes"]
                if content is not None and len(content) > self.max_bytes:
                    content = None
                key = row.get("key")
                yield Sample(
                    f"{path.name}/{number}" if key is None else str(key),
                    label,
                    EncodedPicture(content),
                )


def _rows(path: Path, with_pictures: bool) -> Iterator[dict[str, Any]]:
    """Rows with what there is of `label`, `label_name`, `key`, and with `picture` on request."""
    with _told(path), pq.ParquetFile(path, buffer_size=_BUFFER_BYTES) as file:
        picture, others = _columns(path, file.schema_arrow)
        wanted = [picture, *others] if with_pictures else others
        for batch in file.iter_batches(_ROWS if with_pictures else 2**16, columns=wanted):
            for row in batch.to_pylist():
                if with_pictures:
                    row["picture"] = row.pop(picture)
                yield row


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"data: {path} cannot be read: {error}") from error


def _columns(path: Path, schema: pa.Schema) -> tuple[str, list[str]]:
    """The column of pictures, and those of labels and keys.

    Raises:
        UsageError: there is none of pictures, or none of labels.
    """
    pictures = [
        name for name in ("image", "img") if name in schema.names and _holds_bytes(schema, name)
    ]
    labels = [name for name in _LABELS if name in schema.names]
    if not pictures or not labels:
        columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise UsageError(
            f"data: {path} must have a column image or img of bytes, or of a struct with bytes, "
            f"and a column label or label_name (got {columns})"
        )
    return pictures[0], [*labels, *(name for name in ("key",) if name in schema.names)]


def _holds_bytes(schema: pa.Schema, name: str) -> bool:
    kind = schema.field(name).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
