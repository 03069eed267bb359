"""The authors' published checkpoints: their key names, and what the keys tell of the model.

A `.pth.tar` is data from a stranger. It is read with `weights_only=True`, its configuration is
read off its keys and shapes, and every key and shape is checked before a weight is used.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from torch import Tensor

from dvt.cascade import Calibration, Cascade
from dvt.config import CascadeConfig
from dvt.errors import CheckpointError, ConfigError
from dvt.presets import dvt_deit_small, dvt_t2t_vit_12, dvt_t2t_vit_14

__all__ = ["check_weights", "config_from_state_dict", "load_published", "to_own_names"]

PREFIXES = {"less_less_token": 7, "less_token": 10, "normal_token": 14}

# Published name -> own name, for what differs inside one stage.
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

# numpy scalars and arrays stand beside the weights in published files; nothing else may.
_NUMPY_TYPES: list[Any] = [
    multiarray.scalar,
    multiarray._reconstruct,
    np.ndarray,
    np.dtype,
    # numpy 2 renamed the module; the published files are older.
    (multiarray.scalar, "numpy.core.multiarray.scalar"),
    (multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
    *(type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64", "bool")),
]


_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def _own_name(published: str) -> str:
    for pattern, replacement in RENAMED:
        renamed, count = re.subn(pattern, replacement, published)
        if count:
            return renamed
    return published


def to_own_names(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under this package's names.

    Raises:
        CheckpointError: a key belongs to no known stage.
    """
    present = _present_prefixes(state_dict)
    renamed = {}
    for key, value in state_dict.items():
        prefix, _, rest = key.partition(".")
        if prefix not in present or not rest:
            raise CheckpointError(
                f"key {key!r}: not of a published cascade; keys start with {', '.join(PREFIXES)}"
            )
        renamed[f"stages.{present.index(prefix)}.{_own_name(rest)}"] = value
    return renamed


def _present_prefixes(state_dict: Mapping[str, object]) -> list[str]:
    found = {key.partition(".")[0] for key in state_dict}
    return [prefix for prefix in PREFIXES if prefix in found]


def config_from_state_dict(state_dict: Mapping[str, Tensor]) -> CascadeConfig:
    """The configuration that a published state dict belongs to: backbone, reuse, classes.

    Raises:
        CheckpointError: the keys or shapes are not those of a published cascade.
    """
    present = _present_prefixes(state_dict)
    if not present:
        raise CheckpointError(
            f"keys: none starts with {', '.join(PREFIXES)}; this is no published cascade"
        )
    head = _shape(state_dict, f"{present[-1]}.head.weight", 2)
    if f"{present[0]}.patch_embed.proj.weight" in state_dict:
        base = dvt_deit_small()
    else:
        base = dvt_t2t_vit_12() if head[1] == 256 else dvt_t2t_vit_14()
    try:
        return base.with_changes(
            grids=[grid for grid in base.grids if grid.size in [PREFIXES[p] for p in present]],
            num_classes=head[0],
            feature_reuse=any(".feature_resuse_mlp." in key for key in state_dict),
            relation_reuse=any(".relation_reuse_conv." in key for key in state_dict),
        )
    except ConfigError as error:
        raise CheckpointError(str(error)) from error


def _shape(state_dict: Mapping[str, Tensor], key: str, num_dimensions: int) -> tuple[int, ...]:
    if key not in state_dict or state_dict[key].ndim != num_dimensions:
        raise CheckpointError(f"key {key!r}: missing or not {num_dimensions}-dimensional")
    return tuple(state_dict[key].shape)


@dataclass(frozen=True, slots=True)
class _Published:
    state_dict: dict[str, Tensor]
    beside: dict[str, Any]


def _read(path: Path) -> _Published:
    try:
        with torch.serialization.safe_globals(_NUMPY_TYPES):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except Exception as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise CheckpointError(
                f"{path}: refused, it holds pickled code or objects besides tensors and numbers"
            ) from error
        raise CheckpointError(f"{path}: truncated, damaged or no PyTorch checkpoint") from error
    if not isinstance(content, dict) or not isinstance(content.get("model_state_dict"), dict):
        raise CheckpointError(f"{path}: has no 'model_state_dict'; not a published DVT checkpoint")
    state_dict = content.pop("model_state_dict")
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: entry {key!r} of model_state_dict is not a tensor")
    state_dict = {key.removeprefix("module."): value for key, value in state_dict.items()}
    return _Published(state_dict, content)


def load_published(path: Path) -> Cascade:
    """A published `.pth.tar` as a model, with the figures it carries as its calibration.

    Raises:
        CheckpointError: missing, truncated, hostile, or not of a published cascade.
    """
    published = _read(path)
    try:
        config = config_from_state_dict(published.state_dict)
        weights = to_own_names(published.state_dict)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    with torch.device("meta"):
        model = Cascade(config)
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    check_weights(path, expected, weights)
    model = Cascade(config, calibration=_calibration(published.beside))
    model.load_state_dict({key: value.float() for key, value in weights.items()}, strict=True)
    return model.eval()


def check_weights(
    path: Path, expected: Mapping[str, tuple[int, ...]], weights: Mapping[str, Tensor]
) -> None:
    """Every key and shape, before any of them is used.

    Raises:
        CheckpointError: the first key that is missing, unknown, of a wrong shape, or not finite.
    """
    for key in sorted(expected.keys() - weights.keys()):
        raise CheckpointError(f"{path}: key {key!r} is missing")
    for key in sorted(weights.keys() - expected.keys()):
        raise CheckpointError(f"{path}: key {key!r} is unknown to this model")
    for key, shape in expected.items():
        if tuple(weights[key].shape) != shape:
            raise CheckpointError(
                f"{path}: {key!r} must have shape {list(shape)} (got {list(weights[key].shape)})"
            )
        if not _is_finite(weights[key]):
            raise CheckpointError(f"{path}: {key!r} holds values that are not finite numbers")


def _is_finite(weight: Tensor) -> bool:
    plain = weight.layout == torch.strided and not weight.is_meta and weight.dtype in _FLOATS
    return plain and bool(weight.isfinite().all())


def _calibration(beside: Mapping[str, Any]) -> Calibration:
    """The published figures; a file without them, or with others, has none."""
    try:
        accuracies = tuple(float(value) / 100 for value in beside["anytime_classification"])
        sweep = tuple(
            tuple(float(value) for value in row)[:-1] for row in beside["dynamic_threshold"]
        )
        cost, accuracy = beside["budgeted_batch_classification"]
        curve = tuple((float(c), float(a) / 100) for c, a in zip(cost, accuracy, strict=True))
    except (KeyError, TypeError, ValueError):
        return Calibration()
    return Calibration(
        accuracy_per_exit=accuracies, threshold_sweep=sweep, curve=curve, data="published"
    )
