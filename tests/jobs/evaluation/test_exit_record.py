"""Judging a stream is judging the same pictures in memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dvt
from dvt.config import CascadeConfig
from dvt.inference import exit_scores, make_executor
from dvt.loading.imagenet import class_names
from jobs.datasets import load_labelled
from jobs.evaluation.exit_record import record_exits
from jobs.shapes import CLASSES
from pipeline.errors import UsageError
from pipeline.progress import Progress
from pipeline.runtime.resource_plan import decode_settings


@pytest.mark.parametrize("batch_size", [1, 50, 64, 300])
def test_a_stream_gives_what_memory_gives_image_by_image(batch_size: int) -> None:
    """150 pictures are decoded in pieces of 64, 64 and 22, whatever the batch size."""
    model = dvt.load_model("shapes")
    pictures = load_labelled("shapes:150:6", decode_settings(model.config), CLASSES)
    scores = exit_scores(make_executor(model), pictures.pixels)
    told: list[Progress] = []
    record = record_exits(
        make_executor(model),
        model.labels,
        "shapes:150:6",
        batch_size,
        lambda progress: told.append(progress),
    )
    assert record.confidences == pytest.approx(scores.max(axis=2), abs=1e-5)
    assert np.array_equal(record.correct, scores.argmax(axis=2) == pictures.labels)
    assert 40 < record.in_second_half.sum() < 110
    assert [progress.num_tagged for progress in told] == sorted(p.num_tagged for p in told)
    assert (told[-1].num_tagged, told[-1].num_images) == (150, 150)


def test_the_halves_do_not_depend_on_what_else_is_there() -> None:
    model = dvt.load_model("shapes")
    few = record_exits(make_executor(model), model.labels, "shapes:20:6", 64, lambda progress: None)
    more = record_exits(
        make_executor(model), model.labels, "shapes:40:6", 64, lambda progress: None
    )
    assert np.array_equal(few.in_second_half, more.in_second_half[:20])


def test_bfloat16_is_computed_in_bfloat16() -> None:
    model = dvt.load_model("shapes")
    expected = record_exits(
        make_executor(model), model.labels, "shapes:20:6", 20, lambda progress: None
    )
    record = record_exits(
        make_executor(model, dtype=torch.bfloat16),
        model.labels,
        "shapes:20:6",
        20,
        lambda progress: None,
    )
    assert record.confidences.dtype == np.float32
    assert record.confidences == pytest.approx(expected.confidences, abs=0.1)
    assert not np.array_equal(record.confidences, expected.confidences)


def test_a_whole_piece_of_unreadable_files_is_counted(tmp_path: Path) -> None:
    model = dvt.load_model("shapes")
    (tmp_path / CLASSES[0]).mkdir()
    for number in range(70):
        (tmp_path / CLASSES[0] / f"{number}.jpg").write_bytes(b"no picture")
    with pytest.raises(UsageError, match="none of the 70 images"):
        record_exits(make_executor(model), model.labels, str(tmp_path), 64, lambda progress: None)


def test_an_unknown_class_is_told_before_any_picture_is_read(
    tmp_path: Path, tiny_config: Callable[..., CascadeConfig]
) -> None:
    (tmp_path / "zebra").mkdir()
    (tmp_path / "zebra" / "a.jpg").write_bytes(b"no picture")
    model = dvt.Cascade(tiny_config(), labels=("a", "b", "c", "d", "e"))
    with pytest.raises(UsageError, match="'zebra'"):
        record_exits(make_executor(model), model.labels, str(tmp_path), 64, lambda progress: None)


def test_imagenets_classes_go_by_their_wordnet_ids(
    tmp_path: Path, tiny_config: Callable[..., CascadeConfig]
) -> None:
    for folder in ("n01440764", "n15075141", "toilet tissue"):  # 0, 999, and 999 by name
        (tmp_path / folder).mkdir()
        Image.new("RGB", (24, 24)).save(tmp_path / folder / "a.png")
    model = dvt.Cascade(tiny_config(num_classes=1000), labels=class_names()).eval()
    weights = model.state_dict()
    for stage in range(3):
        weights[f"stages.{stage}.head.weight"].zero_()
        weights[f"stages.{stage}.head.bias"].zero_()[999] = 1.0
    record = record_exits(
        make_executor(model), model.labels, str(tmp_path), 64, lambda progress: None
    )
    assert record.correct.tolist() == [[False, True, True]] * 3
