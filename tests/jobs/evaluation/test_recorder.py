"""A stream is recorded like the same pictures in memory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dvt
from dvt.config import CascadeConfig
from dvt.inference import exit_scores
from dvt.labels.imagenet import class_names
from jobs.datasets import load_labelled
from jobs.evaluation.recorder import ExitRecorder
from jobs.shapes import CLASSES
from pipeline.errors import UsageError
from pipeline.progress import Progress
from pipeline.runtime.resource_plan import decode_settings


def unwatched(progress: Progress) -> None:
    pass


def recorder(batch_size: int = 64, dtype: torch.dtype = torch.float32) -> ExitRecorder:
    return ExitRecorder(dvt.load_model("shapes"), dtype, batch_size)


@pytest.mark.parametrize("batch_size", [1, 50, 64, 300])
def test_a_stream_is_recorded_like_the_same_pictures_in_memory(batch_size: int) -> None:
    """150 pictures are decoded in pieces of 64, 64 and 22, whatever the batch size."""
    settings = decode_settings(dvt.load_model("shapes").spec)
    pictures = load_labelled("shapes:150:6", settings, CLASSES)
    seen: list[Progress] = []
    streamed = recorder(batch_size).record_labelled(
        "shapes:150:6", lambda progress: seen.append(progress)
    )
    in_memory = recorder().record_images(pictures, "shapes:150:6")
    assert streamed.confidences == pytest.approx(in_memory.confidences, abs=1e-5)
    assert np.array_equal(streamed.right("accuracy"), in_memory.right("accuracy"))
    assert np.array_equal(streamed.agrees, in_memory.agrees)
    assert np.array_equal(streamed.in_second_half, in_memory.in_second_half)
    assert 40 < streamed.in_second_half.sum() < 110
    assert (streamed.model_digest, streamed.dtype, streamed.data) == (
        dvt.load_model("shapes").digest(),
        "float32",
        "shapes:150:6",
    )
    assert [each.num_tagged for each in seen] == sorted(each.num_tagged for each in seen)
    assert (seen[-1].num_tagged, seen[-1].num_images) == (150, 150)


def test_pictures_in_memory_are_recorded_by_their_scores() -> None:
    model = dvt.load_model("shapes")
    pictures = load_labelled("shapes:20:6", decode_settings(model.spec), CLASSES)
    scores = exit_scores(model.make_executor(), pictures.pixels)
    record = recorder().record_images(pictures, "shapes:20:6")
    assert record.confidences == pytest.approx(scores.max(axis=2), abs=1e-5)
    assert np.array_equal(record.right("accuracy"), scores.argmax(axis=2) == pictures.labels)


def test_the_halves_do_not_depend_on_the_other_pictures() -> None:
    few, more = (recorder().record_labelled(f"shapes:{n}:6", unwatched) for n in (20, 40))
    assert np.array_equal(few.in_second_half, more.in_second_half[:20])


def test_bfloat16_is_computed_in_bfloat16() -> None:
    expected = recorder().record_labelled("shapes:20:6", unwatched)
    record = recorder(dtype=torch.bfloat16).record_labelled("shapes:20:6", unwatched)
    assert record.dtype == "bfloat16"
    assert record.confidences.dtype == np.float32
    assert record.confidences == pytest.approx(expected.confidences, abs=0.1)
    assert not np.array_equal(record.confidences, expected.confidences)


def test_unreadable_files_are_counted_also_where_they_fill_a_batch(tmp_path: Path) -> None:
    (tmp_path / CLASSES[0]).mkdir()
    for number in range(70):
        (tmp_path / CLASSES[0] / f"{number}.jpg").write_bytes(b"no picture")
    with pytest.raises(UsageError, match="none of the 70 images"):
        recorder().record_labelled(str(tmp_path), unwatched)
    Image.new("RGB", (48, 48)).save(tmp_path / CLASSES[0] / "zz.png")
    record = recorder().record_labelled(str(tmp_path), unwatched)
    assert (record.num_images, record.num_unreadable) == (1, 70)


def test_an_unknown_class_is_told_before_any_picture_is_read(
    tmp_path: Path, tiny_config: Callable[..., CascadeConfig]
) -> None:
    (tmp_path / "zebra").mkdir()
    (tmp_path / "zebra" / "a.jpg").write_bytes(b"no picture")
    model = dvt.Cascade(tiny_config(), labels=("a", "b", "c", "d", "e"))
    with pytest.raises(UsageError, match="'zebra'"):
        ExitRecorder(model).record_labelled(str(tmp_path), unwatched)


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
    record = ExitRecorder(model).record_labelled(str(tmp_path), unwatched)
    assert record.right("accuracy").tolist() == [[False, True, True]] * 3
