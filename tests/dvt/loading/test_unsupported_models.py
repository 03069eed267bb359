"""Models with the same names that compute something else are refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import dvt
from dvt.presets import preset
from tests.dvt.loading.refusals import refusal
from tests.dvt.loading.static_layout import on_meta, published

Weights = dict[str, Tensor]


def zeros(*shape: int) -> Tensor:
    """One stored value, whatever the shape."""
    return torch.zeros(1).expand(shape)


def distil(weights: Weights) -> None:
    weights["dist_token"] = zeros(1, 1, 192)
    weights["pos_embed"] = zeros(1, 198, 192)
    weights["head_dist.weight"], weights["head_dist.bias"] = zeros(1000, 192), zeros(1000)


def put_transformer(weights: Weights) -> None:
    """As in `token_transformer.py`: `attn.qkv`, `attn.proj`, `mlp.fc1`, `mlp.fc2`."""
    for key in [key for key in weights if ".attention1." in key]:
        del weights[key]
    weights["tokens_to_token.attention1.attn.qkv.weight"] = zeros(192, 147)


def put_convolution(weights: Weights) -> None:
    for key in [key for key in weights if ".attention" in key]:
        del weights[key]
    weights["tokens_to_token.soft_split0.weight"] = zeros(64, 3, 7, 7)


def replace(key: str, *shape: int) -> Callable[[Weights], None]:
    def change(weights: Weights) -> None:
        weights[key] = zeros(*shape)

    return change


def without(key: str) -> Callable[[Weights], None]:
    def change(weights: Weights) -> None:
        del weights[key]

    return change


CASES: list[tuple[str, Callable[[Weights], None], str]] = [
    ("deit_tiny", distil, "key 'dist_token': this is a distilled DeiT"),
    ("t2t_vit_7", put_transformer, "key 'tokens_to_token.attention1.attn.qkv.weight': this is a "),
    ("t2t_vit_7", put_convolution, "key 'tokens_to_token.soft_split0.weight': this T2T-ViT's"),
    (
        "t2t_vit_7",
        without("tokens_to_token.attention2.w"),
        "key 'stages.0.tokenizer.performer2.random_features' is missing",
    ),
    ("deit_tiny", without("head.weight"), "key 'head.weight': missing or not 2-dimensional"),
    ("deit_tiny", without("cls_token"), "keys: neither those of a cascade (less_less_token"),
    # DeiT III scales its branches, CLIP's ViTs normalise once more, 384 px have 577 positions.
    ("deit_tiny", replace("blocks.0.ls1.gamma", 192), "key 'stages.0.blocks.0.ls1.gamma' is unk"),
    ("deit_tiny", replace("norm_pre.weight", 192), "key 'stages.0.norm_pre.weight' is unknown"),
    (
        "deit_tiny",
        replace("pos_embed", 1, 577, 192),
        "'stages.0.positions' must have shape [1, 197, 192] (got [1, 577, 192])",
    ),
    (
        "deit_tiny",
        replace("patch_embed.proj.weight", 192, 3, 8, 8),
        "key 'patch_embed.proj.weight': must have 3072 or 1587 or 768 inputs",
    ),
    (
        "deit_tiny",
        replace("patch_embed.proj.weight", 192, 3, 32, 32),
        "shapes: no preset has 7x7 tokens of the patch tokenizer, width 192, 12 blocks and 768",
    ),
    (
        "t2t_vit_7",
        replace("blocks.7.norm1.weight", 256),
        "shapes: no preset has 14x14 tokens of the t2t tokenizer, width 256, 8 blocks and 512",
    ),
    (
        "t2t_vit_7",
        replace("blocks.0.mlp.fc1.weight", 1024, 256),
        "shapes: no preset has 14x14 tokens of the t2t tokenizer, width 256, 7 blocks and 1024",
    ),
    # Twelve zeros that claim a petabyte.
    (
        "deit_tiny",
        replace("head.weight", 10**12, 192),
        "key 'head.weight': must have at most 100000 rows (got 1000000000000)",
    ),
    ("deit_tiny", replace("head.weight", 1, 192), "num_classes: must be at least"),
]


@pytest.mark.parametrize(("name", "change", "said"), CASES)
def test_an_unsupported_model_is_refused_with_the_reason(
    name: str, change: Callable[[Weights], None], said: str, tmp_path: Path
) -> None:
    weights = published(on_meta(name))
    change(weights)
    path = tmp_path / "relative.pth"
    torch.save({"model": weights}, path)
    assert refusal(path).startswith(said)


def test_t2t_vits_of_other_widths_are_refused(tmp_path: Path) -> None:
    """T2T-ViT-14-wide: four blocks of 768 channels."""
    wide = preset("t2t_vit_14").with_changes(width=768, depth=4, num_heads=12)
    with torch.device("meta"):
        weights = published(dvt.Cascade(wide))
    path = tmp_path / "wide.pth.tar"
    torch.save({"state_dict_ema": weights}, path)
    assert refusal(path).startswith("shapes: no preset has 14x14 tokens of the t2t tokenizer, wi")


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.5, 0.999])
def test_a_truncated_safetensors_file_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "vit_tiny.safetensors"
    save_file({"cls_token": torch.ones(1, 1, 192), "head.weight": torch.ones(10, 192)}, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert refusal(path).startswith("truncated or damaged")


def test_bytes_changed_at_random_in_safetensors_never_raise_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "vit_tiny.safetensors"
    save_file({"cls_token": torch.ones(1, 1, 8), "head.weight": torch.ones(10, 8)}, path)
    intact = path.read_bytes()
    random = torch.Generator().manual_seed(0)
    for _ in range(300):
        changed = bytearray(intact)
        for place in torch.randint(0, 180, (3,), generator=random).tolist():
            changed[place] = int(torch.randint(0, 256, (1,), generator=random))
        path.write_bytes(changed)
        refusal(path)


def test_a_safetensors_file_of_unknown_preprocessing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"cls_token": torch.ones(1, 1, 8)}, path)
    assert refusal(path).startswith("preprocessing is unknown; keep the hub's ")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"architecture": "resnet50"}, "architecture: must be vit… or deit… for a file of weights"),
        ({"pretrained_cfg": {"input_size": [3, 384, 384]}}, "image size: must be 224 for a file "),
        ({"pretrained_cfg": {"input_size": [1, 224, 224]}}, "pretrained_cfg.input_size.0: "),
        ({"pretrained_cfg": {"input_size": [3, 224, 256]}}, "pretrained_cfg.input_size: height "),
        ({"pretrained_cfg": {"crop_mode": "border"}}, "pretrained_cfg.crop_mode: "),
        ({"pretrained_cfg": {"interpolation": "lanczos"}}, "pretrained_cfg.interpolation: "),
        ({"pretrained_cfg": {"crop_pct": 5e-324}}, "pretrained_cfg.crop_pct: "),
        ({"pretrained_cfg": {"mean": [0.5, 0.5, float("inf")]}}, "pretrained_cfg.mean.2: "),
        ({"pretrained_cfg": {"std": [0.5, 0.5, 0]}}, "pretrained_cfg.std.2: "),
        ({"pretrained_cfg": None}, "pretrained_cfg: "),
    ],
)
def test_an_unsupported_field_of_timms_config_is_named(
    fields: dict[str, Any], said: str, tmp_path: Path
) -> None:
    pretrained = {
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
    }
    config = {"architecture": "vit_base_patch16_224", "pretrained_cfg": pretrained}
    if isinstance(fields.get("pretrained_cfg"), dict):
        fields = {"pretrained_cfg": pretrained | fields["pretrained_cfg"]}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config | fields), encoding="utf-8")
    with pytest.raises(dvt.CheckpointError) as caught:
        dvt.load_model(tmp_path)
    assert str(caught.value).startswith(f"{path}: {said}")
