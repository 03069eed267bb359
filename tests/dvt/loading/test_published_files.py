"""A published `.pth.tar` loads with its figures, and determines its configuration."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import dvt
from dvt.labels.imagenet import class_names
from dvt.loading.state_dict_adapter import config_from_state_dict, to_own_names

GMACS = [0.47, 1.46, 3.50]
ACCURACIES = [69.04, 75.65, 80.00]
THRESHOLDS = [[0.9 - 0.01 * row, 0.8 - 0.01 * row, -1e8] for row in range(59)]
CURVE = [[0.5 + 0.05 * row for row in range(59)], [70.0 + 0.1 * row for row in range(59)]]

LAYOUTS: dict[str, Callable[[Sequence[Any]], Any]] = {
    "lists": list,
    "numpy arrays": lambda figures: np.array(figures, dtype=np.float64),
    "float32 arrays": lambda figures: np.array(figures, dtype=np.float32),
    "numpy scalars": lambda figures: [
        [np.float64(value) for value in row] if isinstance(row, list) else np.float32(row)
        for row in figures
    ],
    "tensors": torch.tensor,
}


def figures(layout: Callable[[Sequence[Any]], Any]) -> dict[str, Any]:
    """The entries beside the weights of a published file."""
    return {
        "flops": layout(GMACS),
        "anytime_classification": layout(ACCURACIES),
        "dynamic_threshold": layout(THRESHOLDS),
        "budgeted_batch_classification": layout(CURVE),
    }


def on_meta(backbone: str = "dvt_t2t_vit_12", **changes: Any) -> dvt.Cascade:
    with torch.device("meta"):
        return dvt.create_model(backbone, **changes)


def check_figures(calibration: dvt.Calibration) -> None:
    assert calibration.data == "published"
    assert calibration.accuracy_per_exit == pytest.approx([0.6904, 0.7565, 0.8])
    assert np.array(calibration.threshold_sweep) == pytest.approx(np.array(THRESHOLDS)[:, :2])
    assert np.array(calibration.curve) == pytest.approx(
        np.stack([CURVE[0], np.array(CURVE[1]) / 100], axis=1)
    )
    assert calibration.thresholds is None, "the reference names no operating point"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_published_file_loads_with_its_calibration_figures(
    layout: str, tmp_path: Path, published_layout: Callable[..., dict[str, Tensor]]
) -> None:
    path = tmp_path / "t2t.pth.tar"
    weights = published_layout(on_meta())
    torch.save({"model_state_dict": weights, **figures(LAYOUTS[layout])}, path)
    model = dvt.load_cascade(path)
    assert model.config == on_meta().config
    assert not model.training
    check_figures(model.calibration)


def test_figures_written_by_numpy_1_load(
    tmp_path: Path, published_layout: Callable[..., dict[str, Tensor]]
) -> None:
    """numpy 2 renamed `numpy.core` to `numpy._core`; the published files are of 2021."""
    written, path = tmp_path / "numpy2.pth.tar", tmp_path / "numpy1.pth.tar"
    content = figures(LAYOUTS["numpy arrays"]) | {"flops": [np.float64(value) for value in GMACS]}
    torch.save({"model_state_dict": published_layout(on_meta()), **content}, written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            data = source.read(entry).replace(b"numpy._core.", b"numpy.core.")
            target.writestr(entry.filename, data)
    check_figures(dvt.load_cascade(path).calibration)


def test_weights_load_unchanged_from_16_bits_and_from_data_parallel(
    tmp_path: Path, published_layout: Callable[..., dict[str, Tensor]]
) -> None:
    weights = published_layout(on_meta())
    weights["less_token.head.bias"] = torch.linspace(-1, 1, 1000)
    path = tmp_path / "half.pth.tar"
    halved = {f"module.{key}": value.half() for key, value in weights.items()}
    torch.save({"model_state_dict": halved}, path)
    model = dvt.load_cascade(path)
    assert all(value.dtype == torch.float32 for value in model.state_dict().values())
    torch.testing.assert_close(
        model.state_dict()["stages.1.head.bias"],
        weights["less_token.head.bias"].half().float(),
        rtol=0,
        atol=0,
    )
    assert model.calibration == dvt.Calibration(), "no figures, no calibration"


@pytest.mark.parametrize("backbone", ["dvt_t2t_vit_12", "dvt_t2t_vit_14", "dvt_deit_small"])
@pytest.mark.parametrize("feature_reuse", [True, False])
@pytest.mark.parametrize("relation_reuse", [True, False])
def test_reuse_settings_and_classes_follow_from_the_keys(
    backbone: str,
    feature_reuse: bool,
    relation_reuse: bool,
    published_layout: Callable[..., dict[str, Tensor]],
) -> None:
    model = on_meta(
        backbone, num_classes=10, feature_reuse=feature_reuse, relation_reuse=relation_reuse
    )
    weights = published_layout(model)
    assert any("feature_resuse_mlp" in key for key in weights) == feature_reuse
    assert any("relation_reuse_conv" in key for key in weights) == relation_reuse
    fc1 = weights["normal_token.blocks.0.mlp.fc1.weight"]
    assert fc1.shape[1] == model.config.width + (48 if feature_reuse else 0)
    assert config_from_state_dict(weights) == model.config
    assert to_own_names(weights).keys() == model.state_dict().keys()


def test_a_file_without_reuse_loads_and_runs(
    tmp_path: Path, published_layout: Callable[..., dict[str, Tensor]], golden_images: Tensor
) -> None:
    model = on_meta(num_classes=10, feature_reuse=False, relation_reuse=False)
    path = tmp_path / "plain.pth.tar"
    torch.save({"model_state_dict": published_layout(model)}, path)
    prediction = dvt.load_cascade(path).predict(golden_images[:1], (0.0, 0.0), batch_size=1)
    assert prediction.exit_stages.tolist() == [1]
    assert prediction.confidences.tolist() == pytest.approx([0.1]), "ten classes, all weights zero"


def test_a_two_stage_file_becomes_a_two_stage_cascade(
    tmp_path: Path, published_layout: Callable[..., dict[str, Tensor]], golden_images: Tensor
) -> None:
    """7x7 and 14x14, as in the MindSpore release; the second stage reuses the first."""
    three = on_meta(num_classes=10).config
    with torch.device("meta"):
        two = dvt.Cascade(three.model_copy(update={"grids": (three.grids[0], three.grids[2])}))
    path = tmp_path / "two.pth.tar"
    weights = published_layout(two, ("less_less_token", "normal_token"))
    torch.save({"model_state_dict": weights}, path)
    model = dvt.load_cascade(path)
    assert [grid.size for grid in model.config.grids] == [7, 14]
    assert model.config == two.config
    prediction = model.predict(golden_images[:1], (2.0,), batch_size=1)
    assert prediction.exit_stages.tolist() == [2]


@pytest.mark.parametrize("name", ["dvt_deit_small_2", "dvt_vit_base"])
@pytest.mark.parametrize("first", ["less_less_token", "less_token"])
def test_two_stages_on_patches_are_recognised_by_their_shapes(
    name: str, first: str, published_layout: Callable[..., dict[str, Tensor]]
) -> None:
    """MindSpore calls its 7x7 stage `less_token`, the name of PyTorch's 10x10 stage."""
    model = on_meta(name)
    weights = published_layout(model, (first, "normal_token"))
    assert config_from_state_dict(weights) == model.config
    assert to_own_names(weights).keys() == model.state_dict().keys()


def test_a_published_cascade_has_imagenets_class_names(
    tmp_path: Path, published_layout: Callable[..., dict[str, Tensor]]
) -> None:
    path = tmp_path / "t2t.pth.tar"
    torch.save({"model_state_dict": published_layout(on_meta())}, path)
    labels = dvt.load_cascade(path).labels
    assert labels is not None
    assert (len(labels), labels[0], labels[999]) == (1000, "tench", class_names()[999])
