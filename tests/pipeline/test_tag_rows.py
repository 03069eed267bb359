"""Answers survive in few bytes, and a copy's row is the row of the image itself, but free."""

import numpy as np
import pyarrow as pa

from pipeline.cascade_data import Answers
from pipeline.records import ImageRecord, info_table
from pipeline.tag_rows import exit_of, packed_answers, size_of, tag_rows, unpacked_answers

LABELS = ("ant", "bee", "cat", "dog", "eel", "fox")
KEPT = pa.schema([("owner", pa.string())])


def answers_of(exit_stage: int, num_images: int, seed: int) -> Answers:
    draw = np.random.default_rng(seed)
    return Answers(
        tickets=np.arange(num_images),
        top_label_ids=draw.integers(0, len(LABELS), (num_images, 3)),
        top_scores=draw.random((num_images, 3), dtype=np.float32),
        exit_stage=exit_stage,
        exit_confidences=draw.random((num_images, exit_stage), dtype=np.float32),
    )


def info_of(name: str, num_images: int) -> pa.Table:
    images = [
        (ImageRecord(f"{name}/{n}", f"file:///{name}/{n}", 9, kept=(name,)), "a-shard", 40 + n, 30)
        for n in range(num_images)
    ]
    return info_table(images, KEPT)


def test_rows_made_of_packed_answers_are_those_made_of_the_answers_but_cost_nothing() -> None:
    parts = [(answers_of(stage, 5, stage), info_of(f"exit-{stage}", 5)) for stage in (3, 1, 2)]
    packed = [answer for part in parts for answer in packed_answers(*part)]
    infos = pa.concat_tables([info for _, info in parts])
    rows = [
        tag_rows(answers, infos.take(answers.tickets), LABELS, gmacs=0.0)
        for answers in unpacked_answers(packed)
    ]
    expected = pa.concat_tables([tag_rows(*part, LABELS, gmacs=0.0) for part in parts])
    assert pa.concat_tables(rows).sort_by("key").equals(expected.sort_by("key"))
    assert [exit_of(answer) for answer in packed] == [3] * 5 + [1] * 5 + [2] * 5
    assert [size_of(answer) for answer in packed[:3]] == [(40, 30), (41, 30), (42, 30)]
    assert max(map(len, packed)) <= 4 * (3 + 3 + 3 + 3)
