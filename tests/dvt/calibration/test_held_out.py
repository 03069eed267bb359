"""Held-out exits come back as they were saved, and what is none is refused in one line."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import dvt
from dvt.calibration import HELD_OUT, HeldOut
from tests.dvt.calibration.simulated import simulated_exits


@pytest.fixture
def held_out() -> HeldOut:
    confidences, correct, agrees = simulated_exits(0, 50)
    return HeldOut(confidences, agrees, correct, correct[0], "abcd", "float32", "some", 3)


def test_what_was_saved_comes_back(held_out: HeldOut, tmp_path: Path) -> None:
    path = tmp_path / HELD_OUT
    held_out.save(path)
    loaded = HeldOut.load(path)
    for name in HeldOut.__slots__:
        assert np.array_equal(getattr(loaded, name), getattr(held_out, name)), name
    assert [file.name for file in tmp_path.iterdir()] == [HELD_OUT]


def test_without_labels_there_is_agreement_and_no_accuracy(
    held_out: HeldOut, tmp_path: Path
) -> None:
    assert (held_out.risk, held_out.right("accuracy") is held_out.correct) == ("accuracy", True)
    unlabelled = HeldOut(
        held_out.confidences, held_out.agrees, None, held_out.in_second_half, "a", "float32", "some"
    )
    unlabelled.save(tmp_path / HELD_OUT)
    loaded = HeldOut.load(tmp_path / HELD_OUT)
    assert (loaded.risk, loaded.correct) == ("agreement", None)
    with pytest.raises(dvt.CheckpointError, match="of: must be agreement, for some has no labels"):
        loaded.right("accuracy")


def test_the_halves_are_all_of_it(held_out: HeldOut) -> None:
    first, second = held_out.halves()
    assert first.num_images + second.num_images == 50
    assert second.in_second_half.all()
    assert not first.in_second_half.any()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_a_truncated_file_is_named(held_out: HeldOut, tmp_path: Path, share: float) -> None:
    path = tmp_path / HELD_OUT
    held_out.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(dvt.CheckpointError, match="truncated or damaged"):
        HeldOut.load(path)


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    arrays = {
        "confidences": np.full((3, 4), np.nan, np.float32),
        "agrees": np.ones((3, 4), np.bool_),
        "in_second_half": np.ones(4, np.bool_),
    }
    texts = {"model_digest": "a", "dtype": "float32", "data": "some", "num_unreadable": "0"}
    save_file(arrays, tmp_path / HELD_OUT, metadata=texts)
    with pytest.raises(dvt.CheckpointError, match="do not fit together"):
        HeldOut.load(tmp_path / HELD_OUT)
