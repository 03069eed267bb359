"""Static models load from T2T-ViT's, DeiT's and timm's files, as cascades of one stage."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import dvt
from dvt.config import Preprocess
from dvt.labels.imagenet import class_names
from dvt.loading.state_dict_adapter import config_from_state_dict, to_own_names
from dvt.presets import PRESETS, VIT_PREPROCESS, preset
from tests.dvt.loading.static_layout import on_meta, published, write_zeros

STATICS = [name for name, make in PRESETS.items() if make().num_stages == 1]


# The others differ only in size, and each would take seconds to load.
LOADED = [
    name for name in STATICS if name not in ("t2t_vit_19", "t2t_vit_24", "deit_base", "vit_base_16")
]


def with_values(name: str) -> dvt.Cascade:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = dvt.create_model(name)
        for parameter in model.parameters():
            parameter.data = torch.randn(parameter.shape) * 0.05
    return model


def write(state_dict: dict[str, Tensor], name: str, folder: Path) -> Path:
    """A file in its authors' format: T2T-ViT from timm's trainer, DeiT, timm's Hub."""
    if name.startswith("t2t"):
        path = folder / "81.5_T2T_ViT.pth.tar"
        other = {"head.weight": torch.zeros(3, 3)}  # the average is what was evaluated
        content = {"epoch": 309, "arch": name, "state_dict": other, "state_dict_ema": state_dict}
        torch.save(content | {"args": Namespace(model=name, lr=5e-4), "metric": 81.5}, path)
    elif name.startswith("deit"):
        path = folder / "deit_patch16_224-a1311bcf.pth"
        torch.save({"model": state_dict}, path)
    else:
        path = folder / "vit_base_patch_224.augreg_in21k_ft_in1k.safetensors"
        write_zeros(state_dict, path)
    return path


@pytest.mark.parametrize("name", STATICS)
def test_published_keys_cover_the_model_and_determine_its_configuration(name: str) -> None:
    model = on_meta(name)
    weights = published(model)
    assert to_own_names(weights).keys() == model.state_dict().keys()
    prefer = "vit" if name.startswith("vit") else "deit"
    assert config_from_state_dict(weights, prefer) == preset(name)


@pytest.mark.parametrize("name", LOADED)
def test_a_published_static_model_has_imagenets_names_and_empty_thresholds(
    name: str, tmp_path: Path
) -> None:
    model = dvt.load_cascade(write(published(on_meta(name)), name, tmp_path))
    assert model.config == preset(name)
    assert not model.training
    assert model.labels == class_names()
    assert model.calibration == dvt.Calibration(thresholds=())
    assert all(not weight.any() for weight in model.state_dict().values())


@pytest.mark.parametrize("name", ["t2t_vit_7", "deit_tiny"])
def test_logits_equal_those_of_the_written_model(
    name: str, tmp_path: Path, golden_images: Tensor
) -> None:
    model = with_values(name)
    loaded = dvt.load_cascade(write(published(model), name, tmp_path))
    with torch.inference_mode():
        (mine,), (theirs,) = model(golden_images), loaded(golden_images)
    assert torch.equal(mine, theirs)
    assert mine.std() > 0.01, "logits must depend on the images"
    prediction = loaded.predict(golden_images, batch_size=2)
    assert prediction.exit_stages.tolist() == [1, 1]
    assert prediction.labels.tolist() == mine.argmax(dim=-1).tolist()


@pytest.mark.parametrize("container", ["state_dict", "state_dict_ema", "model"])
def test_a_model_of_other_classes_has_no_labels(container: str, tmp_path: Path) -> None:
    path = tmp_path / "cifar10.pth"
    weights = published(on_meta("t2t_vit_7", num_classes=10))
    torch.save({container: {f"module.{key}": value for key, value in weights.items()}}, path)
    model = dvt.load_cascade(path)
    assert model.config.num_classes == 10
    assert model.labels is None


TIMM = {
    "architecture": "deit_tiny_patch16_224",
    "num_classes": 1000,
    "pretrained_cfg": {
        "tag": "fb_in1k",
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    },
}


@pytest.mark.parametrize("given", ["folder", "file"])
def test_a_folder_of_timms_hub_loads_with_its_preprocessing(given: str, tmp_path: Path) -> None:
    write_zeros(published(on_meta("deit_tiny")), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(TIMM), encoding="utf-8")
    model = dvt.load_cascade(tmp_path if given == "folder" else tmp_path / "model.safetensors")
    assert model.config == preset("deit_tiny").with_changes(preprocess=Preprocess(resize=248))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(dvt.CheckpointError, match=r"has no model\.safetensors"):
        dvt.load_cascade(tmp_path)


@pytest.mark.parametrize(
    ("name", "preprocess"),
    [("deit_tiny_patch16_224", Preprocess()), ("vit_tiny_patch16_224", VIT_PREPROCESS)],
)
def test_the_name_of_a_single_file_determines_its_preprocessing(
    name: str, preprocess: Preprocess, tmp_path: Path
) -> None:
    """Their weights have the same shapes; only the preprocessing differs."""
    path = tmp_path / f"{name}.safetensors"
    save_file(published(with_values("deit_tiny")), path)
    model = dvt.load_cascade(path)
    assert model.config == preset("deit_tiny").with_changes(preprocess=preprocess)
    assert model.get_parameter("stages.0.head.weight").any()


def test_the_configuration_of_a_folder_does_not_apply_to_other_files_in_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps(TIMM | {"architecture": "vit_base_patch16_224"}), encoding="utf-8"
    )
    path = tmp_path / "deit_tiny_patch16_224.safetensors"
    write_zeros(published(on_meta("deit_tiny")), path)
    assert dvt.load_cascade(path).config == preset("deit_tiny")


def test_a_vit_of_timms_trainer_has_unknown_preprocessing_and_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model_best.pth.tar"
    torch.save({"arch": "vit_tiny_patch16_224", "state_dict": {"a": torch.zeros(1)}}, path)
    with pytest.raises(dvt.CheckpointError, match="arch 'vit_tiny_patch16_224' is unknown"):
        dvt.load_cascade(path)


@pytest.mark.parametrize("twin", ["class_token", "module.cls_token"])
def test_two_keys_for_one_weight_are_refused(twin: str, tmp_path: Path) -> None:
    weights = published(on_meta("deit_tiny"))
    weights = {key: torch.zeros(1).expand(value.shape) for key, value in weights.items()}
    path = tmp_path / "deit_patch16_224-a1311bcf.pth"
    torch.save({"model": weights | {twin: weights["cls_token"]}}, path)
    with pytest.raises(dvt.CheckpointError, match=r"another key|both with and without"):
        dvt.load_cascade(path)


def test_checkpoint_folders_of_static_models_keep_empty_thresholds(
    tmp_path: Path, tiny_cascade: Callable[..., dvt.Cascade]
) -> None:
    model = tiny_cascade(sides=(3,))
    model.calibration = dvt.Calibration(thresholds=())
    dvt.save_model(model, tmp_path)
    assert dvt.load_cascade(tmp_path).thresholds() == (float("-inf"),)
