"""Published checkpoints: safe reading, and the models in them.

Pickles: DVT's `.pth.tar` with figures beside the weights, files of DeiT, T2T-ViT and Lightning, and
bare state dicts. Safetensors: timm's and transformers'. All are untrusted. Pickles are read with
`weights_only=True`, the configuration is derived from keys and shapes, and every key and shape is
checked before use.
"""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy._core import multiarray
from torch import Tensor

from dvt.cascade import Cascade
from dvt.config import CascadeConfig
from dvt.errors import CheckpointError
from dvt.labels.imagenet import NUM_CLASSES, class_names
from dvt.loading.hub_config import CONFIG, ModelDescription, description_of
from dvt.loading.state_dict_adapter import (
    config_from_state_dict,
    to_own_names,
    without_wrappers,
)
from dvt.loading.transformers import is_transformers, to_timm_names
from dvt.loading.weights import check_not_a_pointer, model_of_weights, read_safetensors
from dvt.model import Calibration

__all__ = ["load_published"]

# Key of the weights in a pickle: DVT; the training code of T2T-ViT and timm (which report the
# moving average); DeiT.
CONTAINERS = ("model_state_dict", "state_dict_ema", "state_dict", "model")

# Allowed beside the weights: numpy scalars and arrays, and timm's bag of training options.
_SAFE_TYPES: list[Any] = [
    Namespace,
    multiarray.scalar,
    multiarray._reconstruct,
    np.ndarray,
    np.dtype,
    # numpy 2 renamed the module; the published files are older.
    (multiarray.scalar, "numpy.core.multiarray.scalar"),
    (multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
    *(type(np.dtype(name)) for name in ("float32", "float64", "int32", "int64", "bool")),
]


@dataclass(frozen=True, slots=True)
class _Published:
    """Content of a published file.

    Attributes:
        state_dict: the weights under their published names.
        extras: entries beside the weights of a pickle.
        description: of a hub's model, None for others.
    """

    state_dict: dict[str, Tensor]
    extras: Mapping[str, Any] = field(default_factory=dict)
    description: ModelDescription | None = None


def load_published(path: Path) -> Cascade:
    """Loads a `.pth.tar`, `.pth`, `.ckpt` or safetensors file.

    A DVT file's figures become the model's calibration. A static model gets empty thresholds.

    Raises:
        CheckpointError: missing, truncated, hostile, or of an unsupported model.
    """
    published = _read(path)
    try:
        config, labels = _describe(published)
        weights = to_own_names(published.state_dict)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if config.num_stages > 1:
        calibration = _calibration(published.extras)
    else:
        calibration = Calibration(thresholds=())
    return model_of_weights(config, weights, path, labels, calibration)


def _describe(published: _Published) -> tuple[CascadeConfig, tuple[str, ...] | None]:
    """Configuration and class names."""
    found = published.description
    if found is None:
        config, labels = config_from_state_dict(published.state_dict), None
    else:
        family = found.architecture.partition("_")[0]
        config = config_from_state_dict(published.state_dict, family)
        config = config.with_changes(preprocess=found.preprocess)
        if found.layer_norm_eps is not None:
            config = config.with_changes(layer_norm_eps=found.layer_norm_eps)
        labels = found.labels
        if labels is not None and len(labels) != config.num_classes:
            raise CheckpointError(
                f"names {len(labels)} classes in {CONFIG}, but its head has {config.num_classes}"
            )
    if labels is None and config.num_classes == NUM_CLASSES:
        labels = class_names()
    return config, labels


def _read(path: Path) -> _Published:
    check_not_a_pointer(path)
    if path.suffix == ".safetensors":
        state_dict = read_safetensors(path)
        if is_transformers(state_dict):
            state_dict = to_timm_names(state_dict)
        return _Published(state_dict, description=description_of(path))
    content = _unpickle(path)
    container = next((name for name in CONTAINERS if isinstance(content.get(name), dict)), None)
    if container is not None:
        state_dict = content.pop(container)
    elif content and all(isinstance(value, Tensor) for value in content.values()):
        state_dict, content, container = content, {}, "the file"
    else:
        raise CheckpointError(
            f"{path}: has no {', '.join(map(repr, CONTAINERS))} and is no state dict; not a "
            "checkpoint that dvt reads"
        )
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.is_nested:
            raise CheckpointError(f"{path}: entry {key!r} of {container} is not a tensor")
    bare = without_wrappers(state_dict)
    if len(bare) < len(state_dict):
        raise CheckpointError(f"{path}: holds a key both with and without 'module.'")
    architecture = content.get("arch")
    if isinstance(architecture, str) and architecture.startswith("vit_"):
        raise CheckpointError(
            f"{path}: preprocessing of arch {architecture!r} is unknown; load the safetensors "
            "file with timm's config.json beside it instead"
        )
    return _Published(bare, content)


def _unpickle(path: Path) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals(_SAFE_TYPES):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except Exception as error:
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise CheckpointError(
                f"{path}: refused, it holds pickled code or objects besides tensors and numbers"
            ) from error
        raise CheckpointError(f"{path}: truncated, damaged or not a PyTorch checkpoint") from error
    return content if isinstance(content, dict) else {}


def _calibration(extras: Mapping[str, Any]) -> Calibration:
    """The published figures; empty if they are missing or malformed."""
    try:
        accuracies = tuple(float(value) / 100 for value in extras["anytime_classification"])
        sweep = tuple(
            tuple(float(value) for value in row)[:-1] for row in extras["dynamic_threshold"]
        )
        cost, accuracy = extras["budgeted_batch_classification"]
        curve = tuple((float(c), float(a) / 100) for c, a in zip(cost, accuracy, strict=True))
        return Calibration(
            accuracy_per_exit=accuracies, threshold_sweep=sweep, curve=curve, data="published"
        )
    except (KeyError, TypeError, ValueError):  # pydantic's errors are ValueErrors
        return Calibration()
