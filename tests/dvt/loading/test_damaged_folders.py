"""A checkpoint folder that is incomplete or wrong is refused in one line: file, field, value."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import dvt

BIAS = "stages.1.head.bias"


@pytest.fixture
def folder(tmp_path: Path, tiny_cascade: Callable[..., dvt.Cascade]) -> Path:
    """An intact checkpoint, to be damaged."""
    model = tiny_cascade()
    model.labels = ("ant", "bee", "cow", "dog", "eel")
    model.calibration = dvt.Calibration(thresholds=(0.6, 0.5))
    dvt.save_model(model, tmp_path / "model")
    return tmp_path / "model"


def refusal(source: str | Path) -> str:
    with pytest.raises(dvt.CheckpointError) as caught:
        dvt.load_model(source)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500, "one line, not the whole file"
    return message


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def put(**fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda content: content.update(fields)


def test_the_intact_folder_loads(folder: Path) -> None:
    assert dvt.load_model(folder).labels == ("ant", "bee", "cow", "dog", "eel")


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, file: str) -> None:
    (folder / file).unlink()
    assert refusal(folder) == f"{folder}: has no {file}; not a checkpoint folder"


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.01, 0.5, 0.999])
def test_truncated_weights_are_named(folder: Path, share: float) -> None:
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: int(len(content) * share)])
    assert refusal(folder).startswith(f"{weights}: truncated or damaged")


def test_weights_that_are_text_are_named(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_text("404: Not Found\n" * 9, encoding="utf-8")
    assert refusal(folder).startswith(f"{weights}: truncated or damaged")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop(BIAS), rf"key '{BIAS}' is missing"),
        (lambda weights: weights.update(extra=torch.zeros(1)), r"key 'extra' is unknown"),
        (
            lambda weights: weights.update({BIAS: torch.zeros(7)}),
            rf"'{BIAS}' must have shape \[5\] \(got \[7\]\)",
        ),
        (
            lambda weights: weights.update({BIAS: torch.full((5,), torch.nan)}),
            rf"'{BIAS}' holds values that are not finite numbers",
        ),
    ],
)
def test_a_wrong_key_is_named(
    folder: Path, change: Callable[[dict[str, Tensor]], object], said: str
) -> None:
    path = folder / "model.safetensors"
    weights: dict[str, Tensor] = load_file(path)
    change(weights)
    save_file(weights, path)
    assert re.match(re.escape(f"{path}: ") + said, refusal(folder))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (put(widht=3), "widht: unknown (got 3)"),
        (put(width=15), "width: must be a multiple of num_heads=2 (got 15)"),
        (put(depth=0), "depth: must be at least 1 (got 0)"),
        (
            put(tokenizer="pixel"),
            "tokenizer: must be 'patch', 't2t' or 'conv' (got 'pixel')",
        ),
        (lambda config: config.pop("num_heads"), "num_heads: missing"),
        (lambda config: config["grids"][1].update(kernel=9), "grids.1: kernel 9"),
        (put(mlp_ratio=float("inf")), "mlp_ratio: "),
    ],
)
def test_a_wrong_field_of_the_configuration_is_named(
    folder: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    path = folder / "config.json"
    edit(path, change)
    assert refusal(folder).startswith(f"{path}: {said}")


@pytest.mark.parametrize("content", [b'{\n"name": ', b"", b"\xff\xfe\n" * 3000, b"[1, 2]"])
@pytest.mark.parametrize("file", ["config.json", "labels.json", "calibration.json"])
def test_a_file_of_invalid_json_is_named(folder: Path, file: str, content: bytes) -> None:
    (folder / file).write_bytes(content)
    assert refusal(folder).startswith(f"{folder / file}: ")


def test_a_folder_in_place_of_a_file_is_named(folder: Path) -> None:
    (folder / "labels.json").unlink()
    (folder / "labels.json").mkdir()
    assert refusal(folder).startswith(f"{folder / 'labels.json'}: ")


def test_labels_of_the_wrong_length_are_refused(folder: Path) -> None:
    path = folder / "labels.json"
    path.write_text('["ant", "bee"]', encoding="utf-8")
    assert refusal(folder) == f"{path}: must name 5 classes (got 2)"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"accuracy_per_exit": [0.5, 60, 0.7]}, "accuracy_per_exit.1: "),
        ({"threshold": [0.5]}, "threshold: unknown"),
        ({"thresholds": [0.5]}, "thresholds: a cascade of 3 stages takes 2 values"),
        ({"thresholds": [0.5, float("nan")]}, "thresholds"),
    ],
)
def test_a_wrong_calibration_is_refused_by_file_and_field(
    folder: Path, fields: dict[str, Any], said: str
) -> None:
    path = folder / "calibration.json"
    edit(path, put(**fields))
    assert refusal(folder).startswith(f"{path}: {said}")


def test_a_preset_is_not_a_trained_model() -> None:
    assert "'dvt_t2t_vit_12' is a preset without weights" in refusal("dvt_t2t_vit_12")


@pytest.mark.parametrize("name", ["no_such_model", "no/such/folder", "x" * 300])
def test_an_unknown_name_is_refused_with_what_is_allowed(name: str) -> None:
    message = refusal(name)
    assert message.startswith(f"model: {name!r} not found; allowed are ")
    assert message.endswith(".safetensors, an .onnx or .pt2 file, or hf-hub:org/name")


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(dvt.ConfigError, match=r"^model: no preset 'vit'; known: dvt_deit_small, "):
        dvt.create_model("vit")
