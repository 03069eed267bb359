"""Rows of tags: groups, audits, and copies made from packed predictions."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from pipeline.cascade.batches import Predictions
from pipeline.cascade.tag_rows import (
    TagClasses,
    decoded_size,
    pack_predictions,
    tag_rows,
    unpack_predictions,
)
from pipeline.records import AUDIT_COLUMNS, GROUP_COLUMNS, ImageRecord, info_table

CLASSES = TagClasses(
    ("ant", "bee", "cat", "dog", "eel", "fox"), (0, 0, 2, 2, 4, 2), ("animal", "insect", "pet")
)
KEPT = pa.schema([("owner", pa.string())])

NOTES = (None, "raw_preview")


def predictions_of(exit_stage: int, num_images: int, seed: int, width: int = 0) -> Predictions:
    draw = np.random.default_rng(seed)
    group_scores = draw.random((num_images, 3), dtype=np.float32)
    return Predictions(
        row_ids=np.arange(num_images),
        top_label_ids=draw.integers(0, 6, (num_images, 3)),
        top_scores=draw.random((num_images, 3), dtype=np.float32),
        group_scores=np.where(group_scores < 0.5, np.float32(0), group_scores),
        exit_stage=exit_stage,
        exit_confidences=draw.random((num_images, exit_stage), dtype=np.float32),
        embeddings=None if not width else draw.random((num_images, width)).astype(np.float16),
    )


def info_of(name: str, num_images: int) -> pa.Table:
    images = [
        (
            ImageRecord(f"{name}/{n}", f"file:///{name}/{n}", 9, kept=(name,)),
            "a-shard",
            (40 + n, 30, NOTES[n % 2]),
        )
        for n in range(num_images)
    ]
    return info_table(images, KEPT)


@pytest.mark.parametrize("width", [0, 1, 8, 11])
def test_rows_from_packed_predictions_equal_those_from_the_predictions(width: int) -> None:
    parts = [
        (predictions_of(stage, 9, stage, width), info_of(f"exit-{stage}", 9)) for stage in (3, 1, 2)
    ]
    packed = [one for part in parts for one in pack_predictions(*part)]
    infos = pa.concat_tables([info for _, info in parts])
    rows = [
        tag_rows(predictions, infos.take(predictions.row_ids), CLASSES, gmacs=0.0)
        for predictions in unpack_predictions(packed, num_groups=3)
    ]
    expected = pa.concat_tables([tag_rows(*part, CLASSES, gmacs=0.0) for part in parts])
    assert pa.concat_tables(rows).sort_by("key").equals(expected.sort_by("key"))
    assert set(map(len, expected["groups"].to_pylist())) == {0, 1, 2, 3}
    assert [decoded_size(one) for one in packed[:2]] == [(40, 30, None), (41, 30, "raw_preview")]
    assert max(map(len, packed)) <= 4 * (6 + 3 + 3 + 3 + 2 * 3) + 2 * (width + 1)


def test_an_embedding_without_a_direction_is_null() -> None:
    embeddings = np.array([[0.6, 0.8], [0, 0], [1, 0]], np.float16)
    predictions = replace(predictions_of(1, 3, seed=1), embeddings=embeddings)
    (_, none, last) = tag_rows(predictions, info_of("e", 3), CLASSES, 1.0)["embedding"].to_pylist()
    assert none is None
    assert last == [1, 0]


def test_groups_are_listed_by_their_score_without_those_below_the_floor() -> None:
    scores = np.array([[0.75, 0.0, 0.5], [0.0, 0.0, 0.0], [0.25, 0.25, 1.0]], np.float32)
    predictions = replace(predictions_of(1, 3, seed=1), group_scores=scores)
    rows = tag_rows(predictions, info_of("groups", 3), CLASSES, gmacs=1.0)
    assert rows["groups"].to_pylist() == [["animal", "pet"], [], ["pet", "animal", "insect"]]
    assert rows["group_scores"].to_pylist() == [[0.75, 0.5], [], [1.0, 0.25, 0.25]]


def test_a_model_without_groups_has_null_in_their_columns() -> None:
    none = np.empty((2, 0), np.float32)
    predictions = replace(predictions_of(1, 2, seed=1), group_scores=none)
    rows = tag_rows(predictions, info_of("none", 2), replace(CLASSES, groups=()), gmacs=1.0)
    assert [rows[name].null_count for name in GROUP_COLUMNS] == [2, 2]


def test_only_audited_images_have_the_audit_columns_and_their_copies_do_not() -> None:
    audited = replace(
        predictions_of(2, 4, seed=1),
        top_label_ids=np.array([[3], [2], [0], [4]]),
        top_scores=np.ones((4, 1), np.float32),
        audit_label_ids=np.array([5, -1, 0, 0]),
        audit_confidences=np.array([0.5, 0.25, 0.75, 0.125], np.float32),
    )
    info = info_of("audit", 4)
    rows = tag_rows(audited, info, CLASSES, gmacs=1.0)
    assert [rows[name].to_pylist() for name in AUDIT_COLUMNS] == [
        [5, None, 0, 0],
        [0.5, None, 0.75, 0.125],
        [True, None, True, False],  # dog and fox are one part
    ]
    (copies,) = unpack_predictions(pack_predictions(audited, info), num_groups=3)
    of_copies = tag_rows(copies, info, CLASSES, gmacs=0.0)
    assert [of_copies[name].null_count for name in AUDIT_COLUMNS] == [4, 4, 4]
    assert of_copies["label_id"].equals(rows["label_id"])
