"""Published checkpoints: reading them safely, and making models of them.

Three kinds: DVT's `.pth.tar`, with figures beside the weights; the `.pth` and `.pth.tar` of DeiT
and T2T-ViT; and timm's safetensors. All are data from strangers. A pickle is read with
`weights_only=True`, the configuration is read off keys and shapes, and every key and shape is
checked before a weight is used.
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
from dvt.loading.timm import TimmModel, load_weights, timm_model_of

__all__ = ["check_weights", "load_published"]

# Where a pickled file has its weights: DVT; T2T-ViT's and timm's training (the moving average is
# what they report); DeiT.
CONTAINERS = ("model_state_dict", "state_dict_ema", "state_dict", "model")

# What may stand beside the weights of published files: numpy's scalars and arrays, and the options
# of a training, which timm keeps in a bag of attributes.
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


_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


@dataclass(frozen=True, slots=True)
class _Published:
    """A file's weights under their published names, and what else it tells.

    Attributes:
        state_dict: the weights.
        beside: what stands beside them in a pickle.
        timm: what is known of one of timm's models, None for others.
    """

    state_dict: dict[str, Tensor]
    beside: Mapping[str, Any] = field(default_factory=dict)
    timm: TimmModel | None = None


def _read(path: Path) -> _Published:
    if path.suffix == ".safetensors":
        return _Published(load_weights(path), timm=timm_model_of(path))
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
        raise CheckpointError(f"{path}: truncated, damaged or no PyTorch checkpoint") from error
    content = content if isinstance(content, dict) else {}
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
            f"{path}: arch {architecture!r} does not say how its pictures are normalised; "
            "load the safetensors file with timm's config.json beside it instead"
        )
    return _Published(bare, content)


def load_published(path: Path) -> Cascade:
    """A published file as a model: `.pth.tar`, `.pth`, or timm's safetensors.

    The figures that a DVT file carries become its calibration. A static model needs none: it has
    no thresholds to choose.

    Raises:
        CheckpointError: missing, truncated, hostile, or of no model of this package.
    """
    published = _read(path)
    timm = published.timm
    try:
        if timm is None:
            config = config_from_state_dict(published.state_dict)
        else:
            config = config_from_state_dict(
                published.state_dict, timm.architecture.partition("_")[0]
            )
            config = config.with_changes(preprocess=timm.preprocess)
        weights = to_own_names(published.state_dict)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    with torch.device("meta"):
        model = Cascade(config)
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    check_weights(path, expected, weights)
    if config.num_stages > 1:
        calibration = _calibration(published.beside)
    else:
        calibration = Calibration(thresholds=())
    labels = class_names() if config.num_classes == NUM_CLASSES else None
    model = Cascade(config, labels, calibration)
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
