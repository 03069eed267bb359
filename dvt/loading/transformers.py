"""Maps the state dicts of transformers' ViTs to timm's names.

Source: huggingface/transformers, `models/vit/modeling_vit.py`. Query, key and value are three
matrices there and one in timm. Reads no files.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from dvt.errors import CheckpointError

__all__ = ["is_transformers", "to_timm_names"]

_PREFIX = "vit."
_RENAMED = (
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layer\.(\d+)\.intermediate\.dense\.", r"blocks.\1.mlp.fc1."),
    (r"^encoder\.layer\.(\d+)\.output\.dense\.", r"blocks.\1.mlp.fc2."),
    (r"^encoder\.layer\.(\d+)\.layernorm_before\.", r"blocks.\1.norm1."),
    (r"^encoder\.layer\.(\d+)\.layernorm_after\.", r"blocks.\1.norm2."),
    (r"^layernorm\.", "norm."),
    (r"^classifier\.", "head."),
)
_ATTENTION = re.compile(
    r"^encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.(weight|bias)$"
)
_PARTS = ("query", "key", "value")
_UNUSED = re.compile(r"^pooler\.")  # of the model without a head


def is_transformers(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether keys are those of a ViT of transformers."""
    return any(key.startswith(f"{_PREFIX}embeddings.") for key in state_dict)


def to_timm_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under timm's names.

    Raises:
        CheckpointError: a query, key or value is missing, or of another shape than its fellows.
    """
    renamed: dict[str, Tensor] = {}
    attention: dict[str, dict[str, Tensor]] = {}
    for published, value in state_dict.items():
        key = published.removeprefix(_PREFIX)
        if _UNUSED.match(key):
            continue
        if part := _ATTENTION.match(key):
            attention.setdefault(f"blocks.{part[1]}.attn.qkv.{part[3]}", {})[part[2]] = value
            continue
        for pattern, replacement in _RENAMED:
            key, count = re.subn(pattern, replacement, key)
            if count:
                break
        renamed[key] = value
    for key, parts in attention.items():
        shapes = {tuple(part.shape) for part in parts.values()}
        if set(parts) != set(_PARTS) or len(shapes) > 1:
            raise CheckpointError(
                f"key {key!r}: query, key and value must all be present and have the same shape"
            )
        renamed[key] = torch.cat([parts[name] for name in _PARTS])
    return renamed
