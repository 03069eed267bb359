"""Records of images, dead letters and other files, and the schemas of the output's tables."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pyarrow as pa

from pipeline.errors import ImageError, Reason
from pipeline.file_kinds import FileKind, is_picture_name, named_kind

__all__ = [
    "AUDIT_COLUMNS",
    "DEAD_LETTERS_SCHEMA",
    "EMBEDDING_MODEL",
    "GROUP_COLUMNS",
    "OTHER_FILES_SCHEMA",
    "SHARDS_SCHEMA",
    "TAGS_SCHEMA",
    "DeadLetter",
    "ImageRecord",
    "OtherFile",
    "ParquetRow",
    "TarMember",
    "Unpredicted",
    "Unreadable",
    "ZipMember",
    "info_table",
    "tags_schema",
    "unpredicted",
    "unpredicted_table",
]

AUDIT_COLUMNS = ("audit_label_id", "audit_confidence", "audit_agrees")
"""Columns of the prediction at full depth; null for images that are not audited."""

GROUP_COLUMNS = ("groups", "group_scores")
"""Columns of the groups of classes; null for models without groups."""

EMBEDDING_MODEL = b"dvt.model"
"""Metadata of the column `embedding`: `Model.embedding_digest`."""

TAGS_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("uri", pa.string()),
        ("label", pa.string()),
        ("label_id", pa.int32()),
        ("confidence", pa.float32()),
        ("top_labels", pa.list_(pa.string())),
        ("top_scores", pa.list_(pa.float32())),
        ("groups", pa.list_(pa.string())),
        ("group_scores", pa.list_(pa.float32())),
        ("exit_stage", pa.int8()),
        ("exit_confidences", pa.list_(pa.float32())),
        ("gmacs", pa.float32()),
        ("audit_label_id", pa.int32()),
        ("audit_confidence", pa.float32()),
        ("audit_agrees", pa.bool_()),
        ("embedding", pa.list_(pa.float32())),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("decode_note", pa.string()),
        ("etag", pa.string()),
        ("shard", pa.string()),
    ]
)


def tags_schema(passthrough: Iterable[pa.Field], embedding_digest: str) -> pa.Schema:
    """The schema of an output's `tags`.

    Args:
        passthrough: columns of the source that tags repeat.
        embedding_digest: of the model whose embeddings the table holds.
    """
    schema = pa.schema([*TAGS_SCHEMA, *passthrough])
    embedding = schema.field("embedding").with_metadata({EMBEDDING_MODEL: embedding_digest})
    return schema.set(schema.get_field_index("embedding"), embedding)


_INFO_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("uri", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("decode_note", pa.string()),
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

OTHER_FILES_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("uri", pa.string()),
        ("kind", pa.string()),
        ("size_bytes", pa.int64()),
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
        ("num_other_files", pa.int64()),
        ("exits", pa.list_(pa.int64())),
        ("gmacs", pa.float64()),
        ("copies", pa.list_(pa.int64())),
        ("run", pa.string()),
        ("elapsed_s", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class TarMember:
    """Where an image lies in a tar.

    Attributes:
        file: URI of the tar.
        offset: of the content in the tar, uncompressed.
        compression: of the whole tar; None allows random access.
    """

    file: str
    offset: int
    compression: Literal["gzip", "zstd", "bz2", "xz"] | None = None


@dataclass(frozen=True, slots=True)
class ZipMember:
    """Where an image lies in a zip.

    Attributes:
        file: URI of the zip.
        offset: of the member's header.
        packed_bytes: size of the compressed content.
        name_bytes: approximate length of the name in that header.
        method: of compression, as in the zip.
        crc32: of the content.
    """

    file: str
    offset: int
    packed_bytes: int
    name_bytes: int
    method: int
    crc32: int


@dataclass(frozen=True, slots=True)
class ParquetRow:
    """Where an image lies in a Parquet file.

    Attributes:
        file: URI of the file.
        column: of the bytes; "image.bytes" is a field of a struct.
        row_group: from 0.
        row: in the row group, from 0.
        path: column of URIs for rows without bytes; None if there is none.
    """

    file: str
    column: str
    row_group: int
    row: int
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A listed entry that cannot be read, such as a link in a tar.

    Attributes:
        file: URI of the file that holds it.
        reason: of its dead letter.
        detail: one line of explanation.
    """

    file: str
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of the archive, as listed.

    Attributes:
        key: unique in the archive, `/`-separated, the same on every machine.
        uri: of its bytes.
        size_bytes: as listed; 0 if unknown.
        etag: version of the file, see `FileStatus`; None if unknown.
        part: where it lies in a file with several images; None for a file of its own.
        kept: values of the passed-through columns, in the order of the source's schema.
        other_keys: of a source; tried in this order if an earlier image has the same `key`.
    """

    key: str
    uri: str
    size_bytes: int
    etag: str | None = None
    part: TarMember | ZipMember | ParquetRow | Unreadable | None = None
    kept: tuple[Any, ...] = ()
    other_keys: tuple[str, ...] = ()

    @property
    def container(self) -> str | None:
        """The tar or row group that holds it; a shard never spans two of them. None for a file."""
        if isinstance(self.part, ParquetRow):
            return f"{self.part.file}#{self.part.row_group}"
        return None if self.part is None else self.part.file

    @property
    def file_name(self) -> str | None:
        """Name of the file or member; None for what counts as a picture without one.

        That is a row of a column of pictures whose key is no file name, and what cannot be listed:
        a folder, the rest of a damaged tar.
        """
        if isinstance(self.part, Unreadable) or self.key.endswith("/"):
            return None
        if isinstance(self.part, ParquetRow):
            name = self.key.rpartition("/")[2]
            return name if "." in name else None
        path = self.uri if self.part is None else self.uri.removeprefix(f"{self.part.file}#")
        return path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One image that failed permanently."""

    key: str
    uri: str
    reason: Reason
    detail: str
    attempts: int
    shard: str
    etag: str | None


@dataclass(frozen=True, slots=True)
class OtherFile:
    """One file that is no picture.

    Attributes:
        size_bytes: None if the listing has no sizes.
    """

    key: str
    uri: str
    kind: FileKind
    size_bytes: int | None
    shard: str
    etag: str | None


Unpredicted = DeadLetter | OtherFile
"""The outcome of a file that gets no tag."""


def unpredicted(image: ImageRecord, shard: str, error: ImageError) -> Unpredicted:
    """The outcome of a file that cannot be decoded; one named like a picture is a dead letter."""
    name = image.file_name
    if error.kind is None or name is None or is_picture_name(name):
        return DeadLetter(image.key, image.uri, error.reason, error.detail, 1, shard, image.etag)
    is_size_unknown = not image.size_bytes and image.etag is None
    size_bytes = None if is_size_unknown else image.size_bytes
    kind = named_kind(name) or error.kind
    return OtherFile(image.key, image.uri, kind, size_bytes, shard, image.etag)


def info_table(
    images: Iterable[tuple[ImageRecord, str, tuple[int, int, str | None]]], kept: pa.Schema
) -> pa.Table:
    """The columns of `tags` that do not come from the model, passed-through ones included.

    Args:
        images: with the shard, and width, height and decode note.
        kept: schema of the passed-through columns.
    """
    rows = [
        {
            "key": image.key,
            "uri": image.uri,
            "width": width,
            "height": height,
            "decode_note": note,
            "etag": image.etag,
            "shard": shard,
            **dict(zip(kept.names, image.kept, strict=True)),
        }
        for image, shard, (width, height, note) in images
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema([*_INFO_SCHEMA, *kept]))


def unpredicted_table(files: Iterable[Unpredicted], schema: pa.Schema) -> pa.Table:
    """Dead letters or other files as rows of their table's schema."""
    return pa.Table.from_pylist([asdict(file) for file in files], schema=schema)
