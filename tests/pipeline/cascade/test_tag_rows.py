"""A copy's row, from the packed prediction, is the row of the image itself at no cost."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from pipeline.cascade.batches import Predictions
from pipeline.cascade.tag_rows import decoded_size, pack_predictions, tag_rows, unpack_predictions
from pipeline.records import AUDIT_COLUMNS, ImageRecord, info_table

LABELS = ("ant", "bee", "cat", "dog", "eel", "fox")
KEPT = pa.schema([("owner", pa.string())])

NOTES = (None, "raw_preview")


def predictions_of(exit_stage: int, num_images: int, seed: int) -> Predictions:
    draw = np.random.default_rng(seed)
    return Predictions(
        row_ids=np.arange(num_images),
        top_label_ids=draw.integers(0, len(LABELS), (num_images, 3)),
        top_scores=draw.random((num_images, 3), dtype=np.float32),
        exit_stage=exit_stage,
        exit_confidences=draw.random((num_images, exit_stage), dtype=np.float32),
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


def test_rows_from_packed_predictions_equal_those_from_the_predictions() -> None:
    parts = [(predictions_of(stage, 5, stage), info_of(f"exit-{stage}", 5)) for stage in (3, 1, 2)]
    packed = [one for part in parts for one in pack_predictions(*part)]
    infos = pa.concat_tables([info for _, info in parts])
    rows = [
        tag_rows(predictions, infos.take(predictions.row_ids), LABELS, gmacs=0.0)
        for predictions in unpack_predictions(packed)
    ]
    expected = pa.concat_tables([tag_rows(*part, LABELS, gmacs=0.0) for part in parts])
    assert pa.concat_tables(rows).sort_by("key").equals(expected.sort_by("key"))
    assert [decoded_size(one) for one in packed[:2]] == [(40, 30, None), (41, 30, "raw_preview")]
    assert max(map(len, packed)) <= 4 * (4 + 3 + 3 + 3)


def test_only_audited_images_have_the_audit_columns_and_their_copies_do_not() -> None:
    audited = replace(
        predictions_of(2, 3, seed=1),
        audit_label_ids=np.array([4, -1, 0]),
        audit_confidences=np.array([0.5, 0.25, 0.75], np.float32),
    )
    info = info_of("audit", 3)
    rows = tag_rows(audited, info, LABELS, gmacs=1.0)
    assert [rows[name].to_pylist() for name in AUDIT_COLUMNS] == [[4, None, 0], [0.5, None, 0.75]]
    (copies,) = unpack_predictions(pack_predictions(audited, info))
    of_copies = tag_rows(copies, info, LABELS, gmacs=0.0)
    assert [of_copies[name].null_count for name in AUDIT_COLUMNS] == [3, 3]
    assert of_copies["label_id"].equals(rows["label_id"])
