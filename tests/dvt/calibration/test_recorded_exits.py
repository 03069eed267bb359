"""Recorded exits are loaded as they were saved, and other files are refused in one line."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import dvt
from dvt.calibration import HELD_OUT, RecordedExits
from tests.dvt.calibration.simulated import recorded_exits, simulated_exits


@pytest.fixture
def recorded() -> RecordedExits:
    confidences, correct, agrees = simulated_exits(0, 50)
    return RecordedExits(confidences, agrees, correct, correct[0], "abcd", "float32", "some", 3)


def test_what_was_saved_comes_back(recorded: RecordedExits, tmp_path: Path) -> None:
    path = tmp_path / HELD_OUT
    recorded.save(path)
    loaded = RecordedExits.load(path)
    for name in RecordedExits.__slots__:
        assert np.array_equal(getattr(loaded, name), getattr(recorded, name)), name
    assert [file.name for file in tmp_path.iterdir()] == [HELD_OUT]


def test_without_labels_there_is_agreement_and_no_accuracy(
    recorded: RecordedExits, tmp_path: Path
) -> None:
    assert (recorded.risk, recorded.right("accuracy") is recorded.correct) == ("accuracy", True)
    unlabelled = RecordedExits(
        recorded.confidences, recorded.agrees, None, recorded.in_second_half, "a", "float32", "some"
    )
    unlabelled.save(tmp_path / HELD_OUT)
    loaded = RecordedExits.load(tmp_path / HELD_OUT)
    assert (loaded.risk, loaded.correct) == ("agreement", None)
    with pytest.raises(dvt.CheckpointError, match="of: must be agreement, for some has no labels"):
        loaded.right("accuracy")


def test_parts_are_joined_in_order(recorded: RecordedExits) -> None:
    halves = recorded.halves()
    whole = RecordedExits.join(halves)
    order = np.argsort(recorded.in_second_half, kind="stable")
    assert np.array_equal(whole.confidences, recorded.confidences[:, order])
    assert whole.correct is not None
    assert recorded.correct is not None
    assert np.array_equal(whole.correct, recorded.correct[:, order])
    assert np.array_equal(whole.agrees, recorded.agrees[:, order])
    assert whole.num_images == 50
    assert RecordedExits.join([recorded, recorded]).num_unreadable == 6


def test_losses_are_right_answers_lost_and_negative_where_one_is_gained() -> None:
    """At 0.5 the first three images leave at exit 1: one loses, one gains, one stays wrong."""
    confidences = np.array([[0.9, 0.8, 0.7, 0.1], [1, 1, 1, 1]], np.float32)
    correct = np.array([[False, True, False, False], [True, False, False, True]])
    recorded = recorded_exits(confidences, correct, "accuracy")
    assert recorded.losses((0.5,), "accuracy").tolist() == [1, -1, 0, 0]
    assert recorded.accuracy_per_exit == (0.25, 0.5)


def test_the_halves_are_all_of_it(recorded: RecordedExits) -> None:
    first, second = recorded.halves()
    assert first.num_images + second.num_images == 50
    assert second.in_second_half.all()
    assert not first.in_second_half.any()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_a_truncated_file_is_named(recorded: RecordedExits, tmp_path: Path, share: float) -> None:
    path = tmp_path / HELD_OUT
    recorded.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(dvt.CheckpointError, match="truncated or damaged"):
        RecordedExits.load(path)


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    arrays = {
        "confidences": np.full((3, 4), np.nan, np.float32),
        "agrees": np.ones((3, 4), np.bool_),
        "in_second_half": np.ones(4, np.bool_),
    }
    texts = {"model_digest": "a", "dtype": "float32", "data": "some", "num_unreadable": "0"}
    save_file(arrays, tmp_path / HELD_OUT, metadata=texts)
    with pytest.raises(dvt.CheckpointError, match="do not fit together"):
        RecordedExits.load(tmp_path / HELD_OUT)
