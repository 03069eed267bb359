"""Every format gives the same pictures with the same labels as the folder form does."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import dvt
from jobs.datasets import ClassIds, load_labelled, open_labelled
from jobs.evaluation.recorder import ExitRecorder
from jobs.shapes import CLASSES
from pipeline.decoding import DecodeSettings
from pipeline.errors import UsageError
from tests.jobs.datasets.conftest import File

SETTINGS = DecodeSettings(resize=48, crop=48)

Content = dict[str, tuple[int, bytes]]


def content_of(data: str) -> tuple[Content, int]:
    """Label id and pixels of every picture by the number in its name, and how many had none."""
    ids = ClassIds(len(CLASSES), CLASSES)
    content: Content = {}
    num_unreadable = 0
    for batch in open_labelled(data).batches(SETTINGS):
        num_unreadable += batch.num_unreadable
        for pixels, key, label in zip(batch.pixels, batch.keys, batch.labels, strict=True):
            number = [word for word in key.replace("/", ".").split(".") if word.isdigit()][-1]
            assert number not in content
            content[number] = (ids.id_of(label), pixels.tobytes())
    return content, num_unreadable


def test_every_format_has_the_same_pictures_and_labels(drawn: Path, other_format: str) -> None:
    expected, num_unreadable = content_of(str(drawn))
    assert (len(expected), num_unreadable) == (38, 2)
    assert content_of(other_format) == (expected, 2)


def test_a_stream_of_any_format_is_judged_like_pictures_in_memory(
    drawn: Path, other_format: str
) -> None:
    model = dvt.load_model("shapes")
    pictures = load_labelled(other_format, SETTINGS, CLASSES)
    assert pictures.num_unreadable == 2
    recorder = ExitRecorder(model, torch.float32, batch_size=16)
    record = recorder.record_labelled(other_format, lambda progress: None)
    expected = recorder.record_labelled(str(drawn), lambda progress: None)
    assert record.num_images == expected.num_images == len(pictures.labels) == 38
    for exit_index in range(3):
        assert sorted(record.confidences[exit_index]) == pytest.approx(
            sorted(expected.confidences[exit_index]), abs=1e-6
        )
    assert record.accuracy_per_exit == expected.accuracy_per_exit


def test_without_a_model_the_classes_are_those_of_the_data(other_format: str) -> None:
    pictures = load_labelled(other_format, SETTINGS)
    named = load_labelled(other_format, SETTINGS, CLASSES)
    if pictures.names[0].isdigit():
        assert [int(name) for name in pictures.names] == sorted(map(int, pictures.names))
        texts = [CLASSES[int(pictures.names[label])] for label in pictures.labels]
    else:
        assert list(pictures.names) == sorted(pictures.names)
        texts = [pictures.names[label] for label in pictures.labels]
    assert texts == [CLASSES[label] for label in named.labels]


def test_drawn_pictures_are_labelled_as_they_are_drawn() -> None:
    pictures = load_labelled("shapes:30:3", SETTINGS)
    assert pictures.names == CLASSES
    again = load_labelled("shapes:20:3", SETTINGS, CLASSES)
    assert np.array_equal(again.pixels, pictures.pixels[:20])
    assert np.array_equal(again.labels, pictures.labels[:20])


@pytest.mark.parametrize(
    ("columns", "word"),
    [
        ({"image": [b""], "target": [1]}, "target (int64)"),
        ({"picture": [b""], "label": [1]}, "picture (binary)"),
        ({"image": ["a.jpg"], "label": [1]}, "image (string)"),
        ({"image": [b""], "label": [1.0]}, "got 1.0"),
        ({"image": [b""], "label": [True]}, "got True"),
    ],
)
def test_parquet_without_the_columns_is_refused_with_its_columns(
    tmp_path: Path, columns: dict[str, list[object]], word: str
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(UsageError) as caught:
        load_labelled(str(path), SETTINGS, CLASSES)
    assert word in str(caught.value)


def test_rows_without_a_label_are_left_out_and_those_without_a_picture_are_unreadable(
    tmp_path: Path, files: list[File]
) -> None:
    good = {"bytes": files[0].content}
    images = [good, {"bytes": None}, good, None]
    table = pa.table({"image": images, "label": [3, 4, None, 5]})
    pq.write_table(table, tmp_path / "a.parquet")
    pictures = load_labelled(str(tmp_path / "a.parquet"), SETTINGS, CLASSES)
    assert pictures.labels.tolist() == [3]
    assert pictures.num_unreadable == 2


def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and then something else")
    with pytest.raises(UsageError, match=r"^data: .*a\.parquet is no readable Parquet file"):
        load_labelled(str(tmp_path / "a.parquet"), SETTINGS, CLASSES)
