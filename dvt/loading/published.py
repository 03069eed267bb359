"""Published checkpoints: safe reading, and the models in them.

Three kinds: DVT's `.pth.tar` with figures beside the weights, the `.pth` and `.pth.tar` of DeiT
and T2T-ViT, and timm's safetensors. All are untrusted. Pickles are read with `weights_only=True`,
the configuration is derived from keys and shapes, and every key and shape is checked before use.
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

from dvt.cascade import Calibration, Cascade
from dvt.errors import CheckpointError
from dvt.loading.imagenet import NUM_CLASSES, class_names
from dvt.loading.state_dict_adapter import config_from_state_dict, to_own_names
from dvt.loading.timm import TimmModel, timm_model_of
from dvt.loading.weights import model_of_weights, read_safetensors

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
        timm: architecture and preprocessing of a timm model, None for others.
    """

    state_dict: dict[str, Tensor]
    extras: Mapping[str, Any] = field(default_factory=dict)
    timm: TimmModel | None = None


def load_published(path: Path) -> Cascade:
    """Loads a `.pth.tar`, `.pth` or timm safetensors file.

    A DVT file's figures become the model's calibration. A static model gets empty thresholds.

    Raises:
        CheckpointError: missing, truncated, hostile, or of an unsupported model.
    """
    published = _read(path)
    timm = published.timm
    try:
        if timm is None:
            config = config_from_state_dict(published.state_dict)
        else:
            family = timm.architecture.partition("_")[0]
            config = config_from_state_dict(published.state_dict, family)
            config = config.with_changes(preprocess=timm.preprocess)
        weights = to_own_names(published.state_dict)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if config.num_stages > 1:
        calibration = _calibration(published.extras)
    else:
        calibration = Calibration(thresholds=())
    labels = class_names() if config.num_classes == NUM_CLASSES else None
    return model_of_weights(config, weights, path, labels, calibration)


def _read(path: Path) -> _Published:
    if path.suffix == ".safetensors":
        return _Published(read_safetensors(path), timm=timm_model_of(path))
    content = _unpickle(path)
    container = next((name for name in CONTAINERS if isinstance(content.get(name), dict)), None)
    if container is None:
        raise CheckpointError(
            f"{path}: has no {', '.join(map(repr, CONTAINERS))}; not a published checkpoint"
        )
    state_dict = content.pop(container)
    for key, value in state_dict.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.is_nested:
            raise CheckpointError(f"{path}: entry {key!r} of {container} is not a tensor")
    bare = {key.removeprefix("module."): value for key, value in state_dict.items()}
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
