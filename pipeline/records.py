"""The rows that flow through the engine, and the schemas of the tables they end in.

Knows pyarrow; nothing of Ray, files or the model.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from pipeline.errors import Reason

__all__ = [
    "AUDIT_COLUMNS",
    "DEAD_LETTERS_SCHEMA",
    "SHARDS_SCHEMA",
    "TAGS_SCHEMA",
    "DeadLetter",
    "ImageRecord",
    "ParquetRow",
    "TarMember",
    "Unreadable",
    "dead_letter_table",
    "info_table",
]

AUDIT_COLUMNS = ("audit_label_id", "audit_confidence")
"""Columns of the full-depth answer of an image of an audit; null for all others."""

TAGS_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("uri", pa.string()),
        ("label", pa.string()),
        ("label_id", pa.int32()),
        ("confidence", pa.float32()),
        ("top_labels", pa.list_(pa.string())),
        ("top_scores", pa.list_(pa.float32())),
        ("exit_stage", pa.int8()),
        ("exit_confidences", pa.list_(pa.float32())),
        ("gmacs", pa.float32()),
        ("audit_label_id", pa.int32()),
        ("audit_confidence", pa.float32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("etag", pa.string()),
        ("shard", pa.string()),
    ]
)

_INFO_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("uri", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("etag", pa.string()),
        ("shard", pa.string()),
    ]
)

DEAD_LETTERS_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("uri", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("attempts", pa.int32()),
        ("shard", pa.string()),
        ("etag", pa.string()),
    ]
)

SHARDS_SCHEMA = pa.schema(
    [
        ("shard", pa.string()),
        ("first_key", pa.string()),
        ("last_key", pa.string()),
        ("num_images", pa.int64()),
        ("num_tagged", pa.int64()),
        ("num_dead_letters", pa.int64()),
        ("exits", pa.list_(pa.int64())),
        ("gmacs", pa.float64()),
        ("copies", pa.list_(pa.int64())),
        ("run", pa.string()),
        ("elapsed_s", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class TarMember:
    """Content inside a tar, `size_bytes` of the record long.

    Attributes:
        file: URI of the tar.
        offset: of the content, in the tar or, if that is compressed, in what it unpacks to.
        compression: of the whole tar; None if any part can be read by itself.
    """

    file: str
    offset: int
    compression: Literal["gzip", "zstd"] | None = None


@dataclass(frozen=True, slots=True)
class ParquetRow:
    """Content in a Parquet file.

    Attributes:
        file: URI of the file.
        column: of the bytes; "image.bytes" is a field of a struct.
        row_group: number.
        row: in the row group.
    """

    file: str
    column: str
    row_group: int
    row: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that was listed and can never be read, such as a link in a tar.

    Attributes:
        file: URI of the file that holds it.
        reason: of the dead letter that it becomes.
        detail: one line, for a person.
    """

    file: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of the archive, as the listing shows it.

    Attributes:
        key: unique in the archive, `/`-separated, the same on every machine.
        uri: where its bytes are, for a person.
        size_bytes: as listed; 0 where the listing does not know.
        etag: the store's own digest of the file; None where the source has none.
        part: where in a file that holds several; None if it is a file of its own.
        kept: values of the columns that are passed through to the tags, in the source's order.
    """

    key: str
    uri: str
    size_bytes: int
    etag: str | None = None
    part: TarMember | ParquetRow | Unreadable | None = None
    kept: tuple[Any, ...] = ()

    @property
    def container(self) -> str | None:
        """What holds it among others, a tar or a row group; a shard never spans two of them."""
        if isinstance(self.part, ParquetRow):
            return f"{self.part.file}#{self.part.row_group}"
        return None if self.part is None else self.part.file


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One image that failed for good."""

    key: str
    uri: str
    reason: Reason
    detail: str
    attempts: int
    shard: str


def info_table(images: Iterable[tuple[ImageRecord, str, int, int]], kept: pa.Schema) -> pa.Table:
    """What tags need besides the answers: `_INFO_SCHEMA`, and the columns that are passed through.

    Args:
        images: with shard, width and height.
        kept: schema of what the records carry.
    """
    rows = [
        {
            "key": image.key,
            "uri": image.uri,
            "width": width,
            "height": height,
            "etag": image.etag,
            "shard": shard,
            **dict(zip(kept.names, image.kept, strict=True)),
        }
        for image, shard, width, height in images
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([*_INFO_SCHEMA, *kept]))


def dead_letter_table(letters: list[DeadLetter], etag_of_key: Mapping[str, str | None]) -> pa.Table:
    """Dead letters as rows of `DEAD_LETTERS_SCHEMA`.

    Args:
        letters: any number.
        etag_of_key: as the images were listed.
    """
    rows = [
        {
            "key": letter.key,
            "uri": letter.uri,
            "reason": letter.reason.value,
            "detail": letter.detail,
            "attempts": letter.attempts,
            "shard": letter.shard,
            "etag": etag_of_key.get(letter.key),
        }
        for letter in letters
    ]
    return pa.Table.from_pylist(rows, schema=DEAD_LETTERS_SCHEMA)
