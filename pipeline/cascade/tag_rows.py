"""Rows of the `tags` table, and predictions packed into a few bytes for copies of an image.

Shapes: n images, k best labels.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.cascade.batches import Predictions
from pipeline.decoding import DecodeNote
from pipeline.records import AUDIT_COLUMNS, TAGS_SCHEMA

__all__ = ["decoded_size", "pack_predictions", "tag_rows", "unpack_predictions"]

_HEADER = 4  # width, height, number of the decode note, exit stage


_NOTES = (None, *DecodeNote)


def tag_rows(
    predictions: Predictions, info: pa.Table, labels: Sequence[str], gmacs: float
) -> pa.Table:
    """Rows of the `tags` table.

    Args:
        predictions: of n images.
        info: what else tags need, n rows (`records.info_table`).
        labels: names of the classes.
        gmacs: cost of each image.
    """
    num_rows, num_labels = predictions.top_label_ids.shape
    names = np.array(labels, dtype=object)[predictions.top_label_ids]
    columns = {
        "key": info["key"],
        "uri": info["uri"],
        "label": pa.array(names[:, 0], pa.string()),
        "label_id": pa.array(predictions.top_label_ids[:, 0], pa.int32()),
        "confidence": pa.array(predictions.top_scores[:, 0]),
        "top_labels": _lists(pa.array(names.ravel(), pa.string()), num_rows, num_labels),
        "top_scores": _lists(pa.array(predictions.top_scores.ravel()), num_rows, num_labels),
        "exit_stage": pa.array(np.full(num_rows, predictions.exit_stage, dtype=np.int8)),
        "exit_confidences": _lists(
            pa.array(predictions.exit_confidences.ravel()), num_rows, predictions.exit_stage
        ),
        "gmacs": pa.array(np.full(num_rows, gmacs, dtype=np.float32)),
        **_audit_columns(predictions),
        "width": info["width"],
        "height": info["height"],
        "decode_note": info["decode_note"],
        "etag": info["etag"],
        "shard": info["shard"],
    }
    passthrough = [field for field in info.schema if field.name not in columns]
    columns |= {field.name: info[field.name] for field in passthrough}
    return pa.table(columns, schema=pa.schema([*TAGS_SCHEMA, *passthrough]))


def _audit_columns(predictions: Predictions) -> dict[str, pa.Array]:
    if predictions.audit_label_ids is None:
        num_rows = len(predictions.row_ids)
        return {name: pa.nulls(num_rows, TAGS_SCHEMA.field(name).type) for name in AUDIT_COLUMNS}
    not_audited = predictions.audit_label_ids < 0
    values = (predictions.audit_label_ids, predictions.audit_confidences)
    return {
        name: pa.array(column, TAGS_SCHEMA.field(name).type, mask=not_audited)
        for name, column in zip(AUDIT_COLUMNS, values, strict=True)
    }


def pack_predictions(predictions: Predictions, info: pa.Table) -> list[bytes]:
    """Packs each prediction, with the size of its image, into about 60 bytes.

    Audit columns are left out, because copies are not audited.
    """
    header = [
        info["width"].to_numpy(),
        info["height"].to_numpy(),
        [_NOTES.index(note) for note in info["decode_note"].to_pylist()],
        np.full(len(predictions.row_ids), predictions.exit_stage),
    ]
    parts = [
        np.stack(header, axis=1).astype(np.int32),
        predictions.top_label_ids.astype(np.int32),
        np.ascontiguousarray(predictions.top_scores, dtype=np.float32).view(np.int32),
        np.ascontiguousarray(predictions.exit_confidences, dtype=np.float32).view(np.int32),
    ]
    return [row.tobytes() for row in np.concatenate(parts, axis=1)]


def decoded_size(packed: bytes) -> tuple[int, int, str | None]:
    """Width, height and decode note of the image of a packed prediction."""
    width, height, note, _ = _header(packed)
    return width, height, _NOTES[note]


def unpack_predictions(packed: Sequence[bytes]) -> list[Predictions]:
    """One entry for each exit, ascending; row ids are positions in `packed`."""
    exit_stages = np.array([_header(prediction)[-1] for prediction in packed])
    return [
        _unpack_exit(packed, exit_stage, np.flatnonzero(exit_stages == exit_stage))
        for exit_stage in np.unique(exit_stages).tolist()
    ]


def _header(packed: bytes) -> tuple[int, int, int, int]:
    width, height, note, exit_stage = np.frombuffer(packed, dtype=np.int32, count=_HEADER).tolist()
    return width, height, note, exit_stage


def _unpack_exit(
    packed: Sequence[bytes], exit_stage: int, positions: NDArray[np.int64]
) -> Predictions:
    content = b"".join(packed[position] for position in positions.tolist())
    rows = np.frombuffer(content, dtype=np.int32).reshape(len(positions), -1)
    num_labels = (rows.shape[1] - _HEADER - exit_stage) // 2
    ids, scores, confidences = np.split(rows[:, _HEADER:], [num_labels, 2 * num_labels], axis=1)
    return Predictions(
        row_ids=positions,
        top_label_ids=ids.astype(np.int64),
        top_scores=np.ascontiguousarray(scores).view(np.float32),
        exit_stage=exit_stage,
        exit_confidences=np.ascontiguousarray(confidences).view(np.float32),
    )


def _lists(values: pa.Array, num_rows: int, length: int) -> pa.Array:
    """A list column with the same number of values in each row."""
    offsets = pa.array(np.arange(0, (num_rows + 1) * length, length or 1, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, values)
