"""Rows of the `tags` table, and predictions packed into a few bytes for copies of an image.

Shapes: n images, k best labels, C classes, G groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import dvt
from dvt.labels import SureOf
from pipeline.cascade.batches import Predictions
from pipeline.decoding import DecodeNote
from pipeline.records import AUDIT_COLUMNS, GROUP_COLUMNS, TAGS_SCHEMA

__all__ = [
    "TagClasses",
    "decoded_size",
    "group_columns",
    "pack_predictions",
    "tag_classes",
    "tag_rows",
    "unpack_predictions",
]

# Width, height, number of the decode note, exit stage, width of the embedding, number of groups.
_HEADER = 6


_NOTES = (None, *DecodeNote)


@dataclass(frozen=True, slots=True)
class TagClasses:
    """What tags say of the classes of a model.

    Attributes:
        labels: name of each class, [C].
        part_ids: audited predictions agree if the parts of their labels do, [C].
        groups: names of the groups, [G].
    """

    labels: tuple[str, ...]
    part_ids: tuple[int, ...]
    groups: tuple[str, ...] = ()


def tag_classes(model: dvt.Model, sure_of: SureOf) -> TagClasses:
    """The classes of a model.

    Raises:
        ModelError: `sure_of` is "group", and the model has no groups.
    """
    return TagClasses(model.label_names, model.groups.part_ids(sure_of), model.groups.names)


def tag_rows(
    predictions: Predictions, info: pa.Table, classes: TagClasses, gmacs: float
) -> pa.Table:
    """Rows of the `tags` table.

    Args:
        predictions: of n images.
        info: what else tags need, n rows (`records.info_table`).
        classes: of the model.
        gmacs: cost of each image.
    """
    num_rows, num_labels = predictions.top_label_ids.shape
    names = np.array(classes.labels, dtype=object)[predictions.top_label_ids]
    num_exits = np.full(num_rows, predictions.exit_stage)
    num_labels_n = np.full(num_rows, num_labels)
    columns = {
        "key": info["key"],
        "uri": info["uri"],
        "label": pa.array(names[:, 0], pa.string()),
        "label_id": pa.array(predictions.top_label_ids[:, 0], pa.int32()),
        "confidence": pa.array(predictions.top_scores[:, 0]),
        "top_labels": _lists(pa.array(names.ravel(), pa.string()), num_labels_n),
        "top_scores": _lists(pa.array(predictions.top_scores.ravel()), num_labels_n),
        **group_columns(predictions.group_scores, classes.groups),
        "exit_stage": pa.array(num_exits.astype(np.int8)),
        "exit_confidences": _lists(pa.array(predictions.exit_confidences.ravel()), num_exits),
        "gmacs": pa.array(np.full(num_rows, gmacs, dtype=np.float32)),
        **_audit_columns(predictions, classes.part_ids),
        "embedding": _embedding_column(predictions),
        "width": info["width"],
        "height": info["height"],
        "decode_note": info["decode_note"],
        "etag": info["etag"],
        "shard": info["shard"],
    }
    passthrough = [field for field in info.schema if field.name not in columns]
    columns |= {field.name: info[field.name] for field in passthrough}
    return pa.table(columns, schema=pa.schema([*TAGS_SCHEMA, *passthrough]))


def group_columns(scores_nG: NDArray[np.float32], groups: tuple[str, ...]) -> dict[str, pa.Array]:
    """The groups that reach the floor, largest score first; null for a model without groups.

    Args:
        scores_nG: of the groups, 0 below the floor.
        groups: their names.
    """
    if not groups:
        return {
            name: pa.nulls(len(scores_nG), TAGS_SCHEMA.field(name).type) for name in GROUP_COLUMNS
        }
    order_nG = np.argsort(-scores_nG, axis=1, kind="stable")
    ranked_nG = np.take_along_axis(scores_nG, order_nG, axis=1)
    is_listed_nG = ranked_nG > 0
    names = np.array(groups, dtype=object)[order_nG[is_listed_nG]]
    num_listed = is_listed_nG.sum(axis=1)
    lists = (pa.array(names, pa.string()), pa.array(ranked_nG[is_listed_nG]))
    return {
        name: _lists(values, num_listed) for name, values in zip(GROUP_COLUMNS, lists, strict=True)
    }


def _embedding_column(predictions: Predictions) -> pa.Array:
    """Embeddings as float32 lists, since Delta Lake has no half floats; null without a direction.

    Half floats widened to 32 bits compress to the size of half floats.
    """
    kind = TAGS_SCHEMA.field("embedding").type
    if predictions.embeddings is None:
        return pa.nulls(len(predictions.row_ids), kind)
    values_nD = predictions.embeddings.astype(np.float32)
    has_direction = values_nD.any(axis=1)
    lists = _lists(pa.array(values_nD[has_direction].ravel()), values_nD.shape[1] * has_direction)
    is_null = pa.array(~has_direction)
    return pa.ListArray.from_arrays(lists.offsets, lists.values, mask=is_null)


def _audit_columns(predictions: Predictions, part_ids: tuple[int, ...]) -> dict[str, pa.Array]:
    if predictions.audit_label_ids is None:
        num_rows = len(predictions.row_ids)
        return {name: pa.nulls(num_rows, TAGS_SCHEMA.field(name).type) for name in AUDIT_COLUMNS}
    not_audited = predictions.audit_label_ids < 0
    parts = np.array(part_ids)
    agrees = parts[predictions.top_label_ids[:, 0]] == parts[predictions.audit_label_ids]
    values = (predictions.audit_label_ids, predictions.audit_confidences, agrees)
    return {
        name: pa.array(column, TAGS_SCHEMA.field(name).type, mask=not_audited)
        for name, column in zip(AUDIT_COLUMNS, values, strict=True)
    }


def pack_predictions(predictions: Predictions, info: pa.Table) -> list[bytes]:
    """Packs each prediction, with the size of its image, into about 60 bytes.

    A group takes 8 bytes more, an embedding 2 for each channel. Audit columns are left out, because
    copies are not audited.
    """
    scores_nG, embeddings_nD = predictions.group_scores, predictions.embeddings
    if embeddings_nD is None:
        embeddings_nD = np.empty((len(predictions.row_ids), 0), np.float16)
    halves = np.pad(embeddings_nD, ((0, 0), (0, embeddings_nD.shape[1] % 2)))
    header = [
        info["width"].to_numpy(),
        info["height"].to_numpy(),
        [_NOTES.index(note) for note in info["decode_note"].to_pylist()],
        np.full(len(predictions.row_ids), predictions.exit_stage),
        np.full(len(predictions.row_ids), embeddings_nD.shape[1]),
        np.count_nonzero(scores_nG, axis=1),
    ]
    parts = [
        np.stack(header, axis=1).astype(np.int32),
        predictions.top_label_ids.astype(np.int32),
        _bits(predictions.top_scores),
        _bits(predictions.exit_confidences),
        np.ascontiguousarray(halves).view(np.int32),
    ]
    packed = []
    for row, scores in zip(np.concatenate(parts, axis=1), scores_nG, strict=True):
        groups = np.flatnonzero(scores)
        packed.append(
            np.concatenate([row, groups.astype(np.int32), _bits(scores[groups])]).tobytes()
        )
    return packed


def _bits(values: NDArray[np.float32]) -> NDArray[np.int32]:
    return np.ascontiguousarray(values, dtype=np.float32).view(np.int32)


def decoded_size(packed: bytes) -> tuple[int, int, str | None]:
    """Width, height and decode note of the image of a packed prediction."""
    width, height, note, *_ = _header(packed)
    return width, height, _NOTES[note]


def unpack_predictions(packed: Sequence[bytes], num_groups: int) -> list[Predictions]:
    """One entry for each exit, ascending; row ids are positions in `packed`."""
    exit_stages = np.array([_header(prediction)[3] for prediction in packed])
    return [
        _unpack_exit(packed, exit_stage, np.flatnonzero(exit_stages == exit_stage), num_groups)
        for exit_stage in np.unique(exit_stages).tolist()
    ]


def _header(packed: bytes) -> list[int]:
    header: list[int] = np.frombuffer(packed, dtype=np.int32, count=_HEADER).tolist()
    return header


def _unpack_exit(
    packed: Sequence[bytes], exit_stage: int, positions: NDArray[np.int64], num_groups: int
) -> Predictions:
    rows = []
    group_scores = np.zeros((len(positions), num_groups), dtype=np.float32)
    for number, position in enumerate(positions.tolist()):
        content = np.frombuffer(packed[position], dtype=np.int32)
        first_group = len(content) - 2 * content[_HEADER - 1]
        row, groups, scores = np.split(content, [first_group, (first_group + len(content)) // 2])
        rows.append(row)
        group_scores[number, groups] = scores.view(np.float32)
    table = np.stack(rows)
    width = int(table[0, _HEADER - 2])
    num_labels = (table.shape[1] - _HEADER - exit_stage - (width + 1) // 2) // 2
    ends = np.cumsum([num_labels, num_labels, exit_stage])
    ids, top_scores, confidences, halves = np.split(table[:, _HEADER:], ends, axis=1)
    embeddings = np.ascontiguousarray(halves).view(np.float16)[:, :width] if width else None
    return Predictions(
        row_ids=positions,
        top_label_ids=ids.astype(np.int64),
        top_scores=np.ascontiguousarray(top_scores).view(np.float32),
        group_scores=group_scores,
        exit_stage=exit_stage,
        exit_confidences=np.ascontiguousarray(confidences).view(np.float32),
        embeddings=embeddings,
    )


def _lists(values: pa.Array, lengths: NDArray[np.integer]) -> pa.Array:
    """A list column with these numbers of values in its rows."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
