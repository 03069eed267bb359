"""`dvt train` resumes after kills, fine-tunes, holds images out, and refuses bad recipes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

import dvt
from dvt.calibration import HELD_OUT, RecordedExits
from dvt.cascade import cascade_spec
from jobs.commands.calibrate import CalibrateJob, run_calibrate
from jobs.datasets import load_labelled
from jobs.training.recipe import read_recipe, shipped_recipes
from pipeline.errors import UsageError
from tests.command_line import DVT, succeeded
from tests.command_line import dvt as dvt_command
from tests.tiny_training import NAMES, Setting, curve, setting

__all__ = ["setting"]


def points(out: Path) -> list[tuple[str, int, float]]:
    """All points in the event files, as TensorBoard reads them."""
    return sorted(
        (value.tag, event.step, value.simple_value)
        for path in (out / "training" / "tensorboard").iterdir()
        for event in LegacyEventFileLoader(str(path)).Load()
        for value in event.summary.value
    )


def test_killed_and_interrupted_runs_end_with_the_curve_of_an_uninterrupted_one(
    setting: Setting,
) -> None:
    whole = setting.train("whole")
    assert len(curve(whole)) == 5
    out = setting.folder / "stopped"
    command = [str(DVT), "train", "--recipe", str(setting.recipe()), "--out", str(out)]
    command += ["--threads", "1", "--save-every-s", "0.001"]
    for number, (sent, code) in enumerate([(signal.SIGKILL, -9), (signal.SIGINT, 130)]):
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 120
            while len(curve(out)) <= number and time.monotonic() < deadline:
                time.sleep(0.002)
            process.send_signal(sent)
            _, errors = process.communicate(timeout=120)
        assert process.returncode == code, errors
        assert not (out / "config.json").exists(), "an unfinished training is not a model"
    assert "the same command continues" in errors
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming after step" in done.stderr
    assert curve(out) == curve(whole)
    assert len(points(out)) == 5 * 6, "no point twice, though all three runs wrote some"
    weights, expected = (dvt.load_cascade(folder).state_dict() for folder in (out, whole))
    assert all(torch.equal(weights[key], value) for key, value in expected.items())


def test_a_trained_model_is_accurate_and_a_second_call_does_not_change_it(setting: Setting) -> None:
    out = setting.train("out")
    model = dvt.load_cascade(out)
    assert model.labels == NAMES
    assert min(model.calibration.accuracy_per_exit) > 0.9
    before = (out / "model.safetensors").read_bytes()
    setting.train("out")
    assert (out / "model.safetensors").read_bytes() == before


def test_tensorboard_has_the_curve(setting: Setting) -> None:
    out = setting.train("out", epochs=2)
    lines = [
        json.loads(line) for line in (out / "training" / "curve.jsonl").read_text().splitlines()
    ]
    expected = [
        (name, line["epoch"], line[name])
        for line in lines
        for name in ("loss", "learning_rate", "seconds")
    ]
    expected += [
        (f"validation_accuracy/exit_{number}", line["epoch"], accuracy)
        for line in lines
        for number, accuracy in enumerate(line["accuracy_per_exit"], start=1)
    ]
    assert [point[:2] for point in points(out)] == sorted(point[:2] for point in expected)
    for (*_, value), (*_, wanted) in zip(points(out), sorted(expected), strict=True):
        assert value == pytest.approx(wanted, rel=1e-6)
    setting.train("out", epochs=2)
    assert len(points(out)) == len(expected), "finished epochs are written once"


def test_without_tensorboardx_there_are_no_events(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    out = setting.train("out", epochs=1)
    assert len(curve(out)) == 1
    assert not (out / "training" / "tensorboard").exists()


def test_a_trained_model_has_recorded_exits_for_any_budget(setting: Setting) -> None:
    out = setting.train("out", {"weights": "float16"})
    held_out = RecordedExits.load(out / HELD_OUT)
    accuracies = dvt.load_cascade(out).calibration.accuracy_per_exit
    assert held_out.num_images == 12
    assert held_out.correct is not None
    # Stored weights are rounded, which may change a prediction.
    assert held_out.correct.mean(axis=1) == pytest.approx(accuracies, abs=0.1)
    full_depth = f"{1000 * cascade_spec(setting.config).gmacs_per_exit[-1]:.6f}M"
    asked: dict[str, Any] = {"model": str(out), "out": out / "t.json"}
    for target in ({"exit_mix": "50/25/25"}, {"budget": full_depth}):
        found = run_calibrate(CalibrateJob(**asked | target)).data
        assert (found["of"], found["num_images"]) == ("accuracy", 12)
    setting.train("out", static=1, epochs=1, overwrite=True)
    assert not (out / HELD_OUT).exists(), "a single exit has no thresholds"


def test_held_out_images_are_written_losslessly_and_not_trained_on(
    setting: Setting,
) -> None:
    out = setting.train("out", epochs=1)
    held_out = load_labelled(
        str(out / "training" / "validation.parquet"),
        setting.decoding,
        NAMES,
    )
    whole = load_labelled(str(setting.data), setting.decoding, NAMES)
    kept, expected = whole.split(12)
    assert held_out.keys == expected.keys
    assert np.array_equal(held_out.pixels, expected.pixels)
    assert np.array_equal(held_out.labels, expected.labels)
    assert sorted(kept.keys + held_out.keys) == sorted(whole.keys)


def test_the_held_out_images_do_not_depend_on_their_order(setting: Setting) -> None:
    table = pq.read_table(setting.data)
    pq.write_table(table.take(list(range(59, -1, -1))), setting.folder / "reversed.parquet")
    keys = [
        set(load_labelled(str(path), setting.decoding, NAMES).split(12)[1].keys)
        for path in (setting.data, setting.folder / "reversed.parquet")
    ]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("tokenizer", ["patch", "conv"])
def test_fine_tuning_keeps_everything_but_the_heads(
    tokenizer: str, setting: Setting, tiny_cascade: Callable[..., dvt.Cascade]
) -> None:
    source = tiny_cascade(tokenizer=tokenizer)
    dvt.save_model(source, setting.folder / "source")
    still = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-12, "weight_decay": 0.0}
    out = setting.train(
        "out", {"model": None, "training": still}, from_=str(setting.folder / "source")
    )
    tuned = dvt.load_cascade(out)
    assert tuned.labels == NAMES
    weights = tuned.state_dict()
    for key, value in source.state_dict().items():
        if ".head." in key:
            assert len(weights[key]) == 2
        else:
            torch.testing.assert_close(weights[key], value, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("reuse", "size"), [({"static": 2}, 1), ({"feature_reuse": False}, 3)])
def test_static_relatives_and_ablations_train_by_the_same_recipe(
    reuse: dict[str, Any], size: int, setting: Setting
) -> None:
    config = dvt.load_cascade(setting.train("out", epochs=1, **reuse)).config
    assert config.num_stages == size
    assert not config.feature_reuse
    assert config.relation_reuse == (size == 3)
    assert config.grids[-1].size == (3 if size == 1 else 4)


def test_another_training_in_the_folder_is_refused_without_overwrite(setting: Setting) -> None:
    out = setting.train("out", epochs=1)
    with pytest.raises(UsageError, match="holds another training"):
        setting.train("out", epochs=2)
    setting.train("out", epochs=2, overwrite=True)
    assert len(curve(out)) == 2
    (out / "training" / "state.pt").write_bytes(b"PK half a file")
    with pytest.raises(
        UsageError, match=r"state.pt is damaged; --overwrite starts from the beginning"
    ):
        setting.train("out", epochs=2)


@pytest.mark.parametrize(
    ("recipe", "fields", "problem"),
    [
        ({"data": None}, {}, "data: must be given, by --data or in the recipe"),
        ({"model": None}, {}, "recipe: must have either preset or model"),
        ({"preset": "dvt_conv_32"}, {}, "recipe: must have either preset or model"),
        ({"model": None, "preset": "dvt_none"}, {}, "model: no preset 'dvt_none'"),
        ({"validation_images": 60}, {}, r"validation-images: must be less than the 60 images"),
        ({}, {"static": 4}, r"static: must be a stage from 1 to 3 of tiny \(got 4\)"),
        ({}, {"static": 1, "from_": "shapes"}, "static: cannot be changed with --from"),
        ({"training": {"epoch": 3}}, {}, r"training.epoch: unknown"),
    ],
)
def test_an_unusable_recipe_is_refused_with_the_reason(
    recipe: dict[str, Any], fields: dict[str, Any], problem: str, setting: Setting
) -> None:
    with pytest.raises(UsageError, match=problem):
        setting.train("out", recipe, **fields)


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_are_valid_and_fit_their_model(name: str) -> None:
    recipe = read_recipe(name)
    if name == "photos":
        assert recipe.distillation is not None
    elif name != "finetune":  # whose model comes by --from
        assert recipe.configuration().num_stages == 3


def test_the_command_writes_a_checkpoint_that_evaluates_to_the_accuracy_it_printed(
    setting: Setting,
) -> None:
    out = setting.folder / "out"
    recipe = setting.recipe(training={"epochs": 1, "batch_size": 8})
    trained = succeeded(dvt_command("train", "--recipe", recipe, "--out", out, "--json")).json
    data = out / "training" / "validation.parquet"
    found = succeeded(dvt_command("eval", "--model", out, "--data", data, "--json")).json
    assert found["images"] == 12
    assert found["accuracy_per_exit"] == pytest.approx(trained["validation_accuracy_per_exit"])


def test_an_unknown_key_of_a_recipe_is_named(setting: Setting) -> None:
    done = dvt_command("train", "--recipe", setting.recipe(lr=1), "--out", setting.folder / "out")
    assert done.code == 2
    assert "lr" in done.err.strip().splitlines()[-1]
