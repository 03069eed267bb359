"""Bare, wrapped and exported checkpoints of one model load alike; what cannot load says why."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import dvt
from tests.dvt.loading.refusals import refusal
from tests.dvt.loading.static_layout import published

NUM_CLASSES = 5
NAMES = [f"pet {number}" for number in range(NUM_CLASSES)]
TRANSFORMERS = {
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
    "norm": "vit.layernorm",
    "head": "classifier",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
}


@pytest.fixture(scope="module")
def model() -> dvt.Cascade:
    torch.manual_seed(0)
    return dvt.create_model("deit_tiny", num_classes=NUM_CLASSES)


@pytest.fixture(scope="module")
def weights(model: dvt.Cascade) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in published(model).items()}


def check_same(model: dvt.Cascade, path: Path) -> dvt.Cascade:
    found = dvt.load_cascade(path)
    expected = model.state_dict()
    assert found.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in found.state_dict().items())
    return found


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "model._orig_mod."])
@pytest.mark.parametrize("container", [None, "state_dict", "model"])
def test_wrappers_and_containers_change_nothing(
    prefix: str,
    container: str | None,
    model: dvt.Cascade,
    weights: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    content: dict[str, object] = {prefix + key: value for key, value in weights.items()}
    if container is not None:
        content = {container: content, "epoch": 3, "pytorch-lightning_version": "2.4.0"}
    torch.save(content, tmp_path / "file.ckpt")
    check_same(model, tmp_path / "file.ckpt")


@pytest.mark.parametrize("place", ["top", "pretrained_cfg"])
def test_a_timm_export_names_its_classes(
    place: str, model: dvt.Cascade, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    save_file(weights, tmp_path / "model.safetensors")
    pretrained: dict[str, object] = {
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    config: dict[str, object] = {"architecture": "deit_tiny_patch16_224"}
    (config if place == "top" else pretrained)["label_names"] = NAMES
    config["pretrained_cfg"] = pretrained
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert check_same(model, tmp_path).labels == tuple(NAMES)


def transformers_name(key: str) -> str:
    if found := re.match(r"blocks\.(\d+)\.(.+)\.(weight|bias)$", key):
        return f"vit.encoder.layer.{found[1]}.{TRANSFORMERS[found[2]]}.{found[3]}"
    name, _, kind = key.rpartition(".")
    return TRANSFORMERS[key] if key in TRANSFORMERS else f"{TRANSFORMERS[name]}.{kind}"


def transformers_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of transformers, with query, key and value apart."""
    found = {}
    for key, value in weights.items():
        if part := re.match(r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)$", key):
            start = f"vit.encoder.layer.{part[1]}.attention.attention"
            for name, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[f"{start}.{name}.{part[2]}"] = third.clone()
        else:
            found[transformers_name(key)] = value
    return found


@pytest.fixture
def transformers_folder(weights: dict[str, Tensor], tmp_path: Path) -> Path:
    save_file(transformers_weights(weights), tmp_path / "model.safetensors")
    config = {"model_type": "vit", "architectures": ["ViTForImageClassification"]}
    labels = {"id2label": {str(number): name for number, name in enumerate(NAMES)}}
    (tmp_path / "config.json").write_text(json.dumps(config | labels))
    preprocessor = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return tmp_path


def test_a_folder_of_transformers_loads_with_its_preprocessing_and_classes(
    model: dvt.Cascade, transformers_folder: Path
) -> None:
    found = check_same(model, transformers_folder)
    assert found.labels == tuple(NAMES)
    assert found.config.layer_norm_eps == 1e-12
    preprocess = found.config.preprocess
    assert (preprocess.resize, preprocess.interpolation) == (224, "bicubic")
    assert (preprocess.mean, preprocess.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_a_folder_of_transformers_without_a_weight_names_it(
    weights: dict[str, Tensor], transformers_folder: Path
) -> None:
    content = transformers_weights(weights)
    del content["vit.encoder.layer.3.attention.attention.key.weight"]
    save_file(content, transformers_folder / "model.safetensors")
    with pytest.raises(dvt.CheckpointError, match=r"blocks.3.attn.qkv.weight.*query, key and"):
        dvt.load_cascade(transformers_folder)


def test_ids_with_gaps_and_other_models_are_refused(transformers_folder: Path) -> None:
    path = transformers_folder / "config.json"
    path.write_text(json.dumps({"model_type": "vit", "id2label": {"0": "a", "2": "b"}}))
    with pytest.raises(dvt.CheckpointError, match="id2label must name ids from 0 without gaps"):
        dvt.load_cascade(transformers_folder)
    path.write_text(json.dumps({"model_type": "swin", "id2label": {"0": "a"}}))
    with pytest.raises(dvt.CheckpointError, match=r"must be vit… or .*'swin'.*bring-your"):
        dvt.load_cascade(transformers_folder)


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_a_pointer_of_git_lfs_says_how_to_fetch_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    if name == "model.safetensors":
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    assert refusal(path) == (
        "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"
    )


def test_a_folder_with_only_a_pickle_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    assert refusal(tmp_path) == (
        "has no model.safetensors; pytorch_model.bin is a pickle, which dvt does not read: save "
        "the model again as safetensors"
    )


def test_a_huge_depth_is_refused_before_it_is_built(model: dvt.Cascade, tmp_path: Path) -> None:
    """Building a billion blocks, even without values, would run until killed."""
    dvt.save_model(model, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"depth": 12', '"depth": 1000000000'))
    with pytest.raises(dvt.CheckpointError, match="too few for 1 stages of 1000000000 blocks"):
        dvt.load_cascade(tmp_path)
