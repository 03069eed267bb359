"""Maps published state dicts to this package's names, and derives their configuration.

Three families share most of their names: DVT (one prefix per stage), T2T-ViT, and the ViTs of DeiT
and timm (one stage, no prefix). Sources: blackfeather-wang/Dynamic-Vision-Transformer,
yitu-opensource/T2T-ViT (`models/`), facebookresearch/deit (`models.py`), timm
(`vision_transformer.py`). Reads no files.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from dvt.config import CascadeConfig, TokenGrid
from dvt.errors import CheckpointError, ConfigError
from dvt.presets import PAPER_GRIDS, PRESETS
from dvt.token_grids import patch_grid, t2t_grid

__all__ = ["config_from_state_dict", "to_own_names", "without_wrappers"]

# Key prefixes of a cascade's stages, in order.
PREFIXES = ("less_less_token", "less_token", "normal_token")

# Prefixes of wrapped models; no key of a model begins like this.
WRAPPERS = ("module.", "_orig_mod.", "model.")

# Published name -> own name inside one stage, where they differ.
RENAMED = (
    (r"^cls_token$", "class_token"),
    (r"^pos_embed$", "positions"),
    (r"^patch_embed\.proj\.", "tokenizer.projection."),
    (r"^tokens_to_token\.project\.", "tokenizer.projection."),
    (r"^tokens_to_token\.attention([12])\.w$", r"tokenizer.performer\1.random_features"),
    (r"^tokens_to_token\.attention([12])\.", r"tokenizer.performer\1."),
    (r"^relation_reuse_conv\.0\.", "relation_reuse.conv1."),
    (r"^relation_reuse_conv\.2\.", "relation_reuse.conv2."),
    (r"^blocks\.(\d+)\.feature_resuse_mlp\.0\.", r"blocks.\1.feature_reuse.norm."),
    (r"^blocks\.(\d+)\.feature_resuse_mlp\.1\.", r"blocks.\1.feature_reuse."),
    (r"^blocks\.(\d+)\.attn\.", r"blocks.\1.attention."),
    (r"^blocks\.(\d+)\.mlp\.", r"blocks.\1."),
)

# Models with the same names that compute something else, and a key that identifies them.
REFUSED = (
    (
        r"^(dist_token|head_dist\.)",
        "this is a distilled DeiT, which has a second head; only plain ones are supported",
    ),
    (
        r"tokens_to_token\.attention1\.attn\.",
        "this is a T2T-ViT_t, whose tokenizer is a Transformer; only performers are supported",
    ),
    (
        r"tokens_to_token\.soft_split",
        "this T2T-ViT's tokenizer is a convolution; only performers are supported",
    ),
)

# Rows of a head. ImageNet-21k has 21,843; in a hostile file any number of rows takes no space.
MAX_CLASSES = 100_000

# Inputs of the first layer (three channels of a window) -> the token grid at 224 px.
_GRIDS = {
    tokenizer: {3 * grid.kernel**2: grid for grid in (make(224, size) for size in PAPER_GRIDS)}
    for tokenizer, make in (("patch", patch_grid), ("t2t", t2t_grid))
}
# Name of that layer's weight, and its number of dimensions.
_FIRST_LAYERS = {
    "patch": ("patch_embed.proj.weight", 4),
    "t2t": ("tokens_to_token.attention1.kqv.weight", 2),
}


def without_wrappers(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Removes the prefixes that wrappers put before every key of a model.

    `module.` comes from DataParallel, `_orig_mod.` from torch.compile, `model.` from Lightning and
    other training code.
    """
    bare = dict(state_dict)
    while prefix := next((p for p in WRAPPERS if any(k.startswith(p) for k in bare)), None):
        bare = {key.removeprefix(prefix): value for key, value in bare.items()}
    return bare


def _own_name(published: str) -> str:
    for pattern, replacement in RENAMED:
        renamed, count = re.subn(pattern, replacement, published)
        if count:
            return renamed
    return published


def to_own_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames a published state dict to this package's names.

    Raises:
        CheckpointError: a key belongs to no known stage, or two keys name the same weight.
    """
    present = _present_prefixes(state_dict)
    renamed = {}
    for key, value in state_dict.items():
        stage, rest = 0, key
        if present:
            prefix, _, rest = key.partition(".")
            if prefix not in present or not rest:
                raise CheckpointError(
                    f"key {key!r}: not of a published cascade, whose "
                    f"keys start with {', '.join(PREFIXES)}"
                )
            stage = present.index(prefix)
        own = f"stages.{stage}.{_own_name(rest)}"
        if own in renamed:
            raise CheckpointError(f"key {key!r}: another key names the same weight")
        renamed[own] = value
    return renamed


def _present_prefixes(state_dict: Mapping[str, object]) -> list[str]:
    """Stage prefixes among a cascade's keys; empty for a static model."""
    found = {key.partition(".")[0] for key in state_dict}
    return [prefix for prefix in PREFIXES if prefix in found]


def config_from_state_dict(state_dict: Mapping[str, Tensor], prefer: str = "deit") -> CascadeConfig:
    """The configuration of a published state dict.

    Args:
        state_dict: under its published names.
        prefer: start of the preset's name where two presets have these shapes: DeiT-base and
            ViT-B/16 differ only in their preprocessing.

    Raises:
        CheckpointError: no preset has these keys and shapes.
    """
    for pattern, reason in REFUSED:
        for key in state_dict:
            if re.search(pattern, key):
                raise CheckpointError(f"key {key!r}: {reason}")
    stages = [f"{prefix}." for prefix in _present_prefixes(state_dict)]
    if not stages and "cls_token" not in state_dict:
        raise CheckpointError(
            f"keys: neither those of a cascade ({', '.join(PREFIXES)}) nor those of a static "
            "model (cls_token)"
        )
    shapes = _read_shapes(state_dict, stages or [""])
    try:
        return _preset_of(shapes, prefer).with_changes(
            grids=shapes.grids,
            num_classes=shapes.num_classes,
            feature_reuse=any(".feature_resuse_mlp." in key for key in state_dict),
            relation_reuse=any(".relation_reuse_conv." in key for key in state_dict),
        )
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


@dataclass(frozen=True, slots=True)
class _Shapes:
    """Sizes read from the shapes; `hidden` is the width inside a block's MLP."""

    tokenizer: str
    grids: tuple[TokenGrid, ...]
    width: int
    depth: int
    hidden: int
    num_classes: int


def _read_shapes(state_dict: Mapping[str, Tensor], stages: list[str]) -> _Shapes:
    """Reads the last stage and the grids of the others; every key is checked later."""
    last = stages[-1]
    num_classes, width = _shape(state_dict, f"{last}head.weight", 2)
    if num_classes > MAX_CLASSES:
        raise CheckpointError(
            f"key '{last}head.weight': must have at most {MAX_CLASSES} rows (got {num_classes})"
        )
    hidden, _ = _shape(state_dict, f"{last}blocks.0.mlp.fc1.weight", 2)
    block = re.compile(rf"{last}blocks\.(\d+)\.")
    depth = len({found[1] for key in state_dict if (found := block.match(key))})
    tokenizer = "patch" if last + _FIRST_LAYERS["patch"][0] in state_dict else "t2t"
    name, num_dimensions = _FIRST_LAYERS[tokenizer]
    grids = []
    for stage in stages:
        num_inputs = math.prod(_shape(state_dict, stage + name, num_dimensions)[1:])
        if num_inputs not in _GRIDS[tokenizer]:
            raise CheckpointError(
                f"key {stage + name!r}: must have {' or '.join(map(str, _GRIDS[tokenizer]))} "
                f"inputs, three channels of a window (got {num_inputs})"
            )
        grids.append(_GRIDS[tokenizer][num_inputs])
    return _Shapes(tokenizer, tuple(grids), width, depth, hidden, num_classes)


def _preset_of(shapes: _Shapes, prefer: str) -> CascadeConfig:
    candidates = [
        config
        for config in (make() for make in PRESETS.values())
        if (config.tokenizer, config.width, config.depth, config.mlp_hidden)
        == (shapes.tokenizer, shapes.width, shapes.depth, shapes.hidden)
        and (config.num_stages > 1) == (len(shapes.grids) > 1)
    ]
    exact = [config for config in candidates if config.grids == shapes.grids]
    if not exact and len(shapes.grids) > 1:  # a cascade may have other grids than its preset
        exact = candidates
    if not exact:
        sizes = " and ".join(f"{grid.size}x{grid.size}" for grid in shapes.grids)
        raise CheckpointError(
            f"shapes: no preset has {sizes} tokens of the {shapes.tokenizer} tokenizer, "
            f"width {shapes.width}, {shapes.depth} blocks and {shapes.hidden} channels in an MLP"
        )
    return next((config for config in exact if config.name.startswith(prefer)), exact[0])


def _shape(state_dict: Mapping[str, Tensor], key: str, num_dimensions: int) -> tuple[int, ...]:
    if key not in state_dict or state_dict[key].ndim != num_dimensions:
        raise CheckpointError(f"key {key!r}: missing or not {num_dimensions}-dimensional")
    return tuple(state_dict[key].shape)
