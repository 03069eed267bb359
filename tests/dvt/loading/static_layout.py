"""Static models under their published names, for tests to write to files."""

import json
from math import prod
from pathlib import Path

import torch
from torch import Tensor

import dvt
from dvt.loading.state_dict_adapter import to_own_names


def pairs(*layers: str) -> list[str]:
    return [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]


# The keys of yitu-opensource/T2T-ViT, of facebookresearch/deit and of timm.
_BLOCK = pairs("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
_ENDS = ["cls_token", "pos_embed", *pairs("norm", "head")]
_PATCH = pairs("patch_embed.proj")
_PERFORMER = ["w", *pairs("kqv", "proj", "norm1", "norm2", "mlp.0", "mlp.2")]
_T2T = [f"tokens_to_token.attention{number}.{name}" for number in (1, 2) for name in _PERFORMER]
_T2T += pairs("tokens_to_token.project")


def published_keys(config: dvt.CascadeConfig) -> list[str]:
    layers = [name for name in _BLOCK if config.qkv_bias or name != "attn.qkv.bias"]
    blocks = [f"blocks.{number}.{name}" for number in range(config.depth) for name in layers]
    return _ENDS + (_PATCH if config.tokenizer == "patch" else _T2T) + blocks


def published(model: dvt.Cascade) -> dict[str, Tensor]:
    """The model's weights under published names; those without values become zeros."""
    own = model.state_dict()
    named = {}
    for key in published_keys(model.config):
        ((name, _),) = to_own_names({key: torch.empty(0)}).items()
        value = own[name]
        named[key] = torch.zeros(1).expand(value.shape) if value.is_meta else value
    assert len(named) == len(own)
    return named


def on_meta(name: str, **changes: int) -> dvt.Cascade:
    """A preset's model without values."""
    with torch.device("meta"):
        return dvt.create_model(name, **changes)


def write_zeros(state_dict: dict[str, Tensor], path: Path) -> None:
    """A safetensors file of zeros that takes no space on the disk."""
    header, end = {}, 0
    for key, value in state_dict.items():
        start, end = end, end + 4 * prod(value.shape)
        header[key] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with path.open("ab") as file:
        file.truncate(8 + len(text) + end)
