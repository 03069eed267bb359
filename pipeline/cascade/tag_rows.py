"""Rows of the `tags` table from answers, and answers in few bytes, for copies of the image.

Shapes: n images, k best labels.
"""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import dvt
from pipeline.cascade.batches import Predictions
from pipeline.records import AUDIT_COLUMNS, TAGS_SCHEMA

__all__ = ["exit_of", "label_names", "packed_answers", "size_of", "tag_rows", "unpacked_answers"]

_HEAD = 3  # width, height, exit stage


def label_names(model: dvt.Cascade) -> tuple[str, ...]:
    """Of each class; its number where it has no name."""
    return model.labels or tuple(str(n) for n in range(model.config.num_classes))


def tag_rows(answers: Predictions, info: pa.Table, labels: Sequence[str], gmacs: float) -> pa.Table:
    """Rows of the `tags` table.

    Args:
        answers: of one exit.
        info: what else the tags need, of the same images (`records.info_table`).
        labels: of the classes.
        gmacs: spent on each image.
    """
    num_rows, num_labels = answers.top_label_ids.shape
    names = np.array(labels, dtype=object)[answers.top_label_ids]
    columns = {
        "key": info["key"],
        "uri": info["uri"],
        "label": pa.array(names[:, 0], pa.string()),
        "label_id": pa.array(answers.top_label_ids[:, 0], pa.int32()),
        "confidence": pa.array(answers.top_scores[:, 0]),
        "top_labels": _lists(pa.array(names.ravel(), pa.string()), num_rows, num_labels),
        "top_scores": _lists(pa.array(answers.top_scores.ravel()), num_rows, num_labels),
        "exit_stage": pa.array(np.full(num_rows, answers.exit_stage, dtype=np.int8)),
        "exit_confidences": _lists(
            pa.array(answers.exit_confidences.ravel()), num_rows, answers.exit_stage
        ),
        "gmacs": pa.array(np.full(num_rows, gmacs, dtype=np.float32)),
        **_audit_columns(answers),
        "width": info["width"],
        "height": info["height"],
        "etag": info["etag"],
        "shard": info["shard"],
    }
    kept = [field for field in info.schema if field.name not in columns]
    columns |= {field.name: info[field.name] for field in kept}
    return pa.table(columns, schema=pa.schema([*TAGS_SCHEMA, *kept]))


def _audit_columns(answers: Predictions) -> dict[str, pa.Array]:
    if answers.audit_label_ids is None:
        num_rows = len(answers.row_ids)
        return {name: pa.nulls(num_rows, TAGS_SCHEMA.field(name).type) for name in AUDIT_COLUMNS}
    not_audited = answers.audit_label_ids < 0
    values = (answers.audit_label_ids, answers.audit_confidences)
    return {
        name: pa.array(column, TAGS_SCHEMA.field(name).type, mask=not_audited)
        for name, column in zip(AUDIT_COLUMNS, values, strict=True)
    }


def packed_answers(answers: Predictions, info: pa.Table) -> list[bytes]:
    """Each answer, with the picture's size, in some 60 bytes; copies are in no audit."""
    head = [
        info["width"].to_numpy(),
        info["height"].to_numpy(),
        np.full(len(answers.row_ids), answers.exit_stage),
    ]
    parts = [
        np.stack(head, axis=1).astype(np.int32),
        answers.top_label_ids.astype(np.int32),
        np.ascontiguousarray(answers.top_scores, dtype=np.float32).view(np.int32),
        np.ascontiguousarray(answers.exit_confidences, dtype=np.float32).view(np.int32),
    ]
    return [row.tobytes() for row in np.concatenate(parts, axis=1)]


def size_of(packed: bytes) -> tuple[int, int]:
    """Width and height of an answer's picture."""
    width, height = np.frombuffer(packed, dtype=np.int32, count=2).tolist()
    return width, height


def exit_of(packed: bytes) -> int:
    """The exit stage of an answer, from 1."""
    return int(np.frombuffer(packed, dtype=np.int32, count=_HEAD)[-1])


def unpacked_answers(packed: Sequence[bytes]) -> list[Predictions]:
    """One for each exit, ascending; row_ids are positions in `packed`."""
    places = sorted(range(len(packed)), key=lambda place: exit_of(packed[place]))
    return [
        _of_one_exit(packed, exit_stage, np.array(list(group)))
        for exit_stage, group in groupby(places, key=lambda place: exit_of(packed[place]))
    ]


def _of_one_exit(
    packed: Sequence[bytes], exit_stage: int, places: NDArray[np.int64]
) -> Predictions:
    content = b"".join(packed[place] for place in places.tolist())
    rows = np.frombuffer(content, dtype=np.int32).reshape(len(places), -1)
    num_labels = (rows.shape[1] - _HEAD - exit_stage) // 2
    ids, scores, confidences = np.split(rows[:, _HEAD:], [num_labels, 2 * num_labels], axis=1)
    return Predictions(
        row_ids=places,
        top_label_ids=ids.astype(np.int64),
        top_scores=np.ascontiguousarray(scores).view(np.float32),
        exit_stage=exit_stage,
        exit_confidences=np.ascontiguousarray(confidences).view(np.float32),
    )


def _lists(values: pa.Array, num_rows: int, length: int) -> pa.Array:
    """A list column in which every row has the same number of values."""
    offsets = pa.array(np.arange(0, (num_rows + 1) * length, length or 1, dtype=np.int32))
    return pa.ListArray.from_arrays(offsets, values)
