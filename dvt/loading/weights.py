"""Weights from files: read, checked against the model's keys and shapes, and loaded."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dvt.cascade import Cascade
from dvt.config import CascadeConfig
from dvt.errors import CheckpointError
from dvt.model import Calibration

__all__ = ["check_not_a_pointer", "model_of_weights", "read_safetensors"]

_LFS_POINTER = b"version https://git-lfs"
_FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def check_not_a_pointer(path: Path) -> None:
    """Refuses the pointers that Git LFS leaves where a file was not fetched.

    Raises:
        CheckpointError: it is one.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
    except OSError:
        return  # reading it will say why
    if start == _LFS_POINTER:
        raise CheckpointError(
            f"{path}: is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"
        )


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        CheckpointError: missing, unreadable, truncated or damaged.
    """
    check_not_a_pointer(path)
    try:
        return load_file(path)
    except FileNotFoundError as error:
        pickles = sorted(path.parent.glob("*.bin"))
        hint = (
            f"; {pickles[0].name} is a pickle, which dvt does not read: save the model again as "
            "safetensors"
            if pickles
            else "; not a checkpoint folder"
        )
        raise CheckpointError(f"{path.parent}: has no {path.name}{hint}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    except (SafetensorError, KeyError) as error:
        raise CheckpointError(f"{path}: truncated or damaged") from error


def model_of_weights(
    config: CascadeConfig,
    weights: Mapping[str, Tensor],
    path: Path,
    labels: tuple[str, ...] | None,
    calibration: Calibration,
) -> Cascade:
    """A model in float32 and evaluation mode, once every key and shape has been checked.

    Args:
        config: of the model.
        weights: under this package's names, in any floating-point type.
        path: of the weights, for error messages.
        labels: class names, or None.
        calibration: of the model.

    Raises:
        CheckpointError: a key is missing, unknown, of the wrong shape, or not finite.
    """
    if config.depth * config.num_stages > len(weights):  # building it would take forever
        raise CheckpointError(
            f"{path}: holds {len(weights)} tensors, too few for {config.num_stages} stages of "
            f"{config.depth} blocks"
        )
    with torch.device("meta"):  # a hostile configuration allocates nothing
        skeleton = Cascade(config)
    shapes = {key: tuple(value.shape) for key, value in skeleton.state_dict().items()}
    _check(path, shapes, weights)
    model = Cascade(config, labels, calibration)
    model.load_state_dict({key: value.float() for key, value in weights.items()}, strict=True)
    return model.eval()


def _check(
    path: Path, shapes: Mapping[str, tuple[int, ...]], weights: Mapping[str, Tensor]
) -> None:
    for key in sorted(shapes.keys() - weights.keys()):
        raise CheckpointError(f"{path}: key {key!r} is missing")
    for key in sorted(weights.keys() - shapes.keys()):
        raise CheckpointError(f"{path}: key {key!r} is unknown to this model")
    for key, shape in shapes.items():
        if tuple(weights[key].shape) != shape:
            raise CheckpointError(
                f"{path}: {key!r} must have shape {list(shape)} (got {list(weights[key].shape)})"
            )
        if not _is_finite(weights[key]):
            raise CheckpointError(f"{path}: {key!r} holds values that are not finite numbers")


def _is_finite(weight: Tensor) -> bool:
    is_dense = weight.layout == torch.strided and not weight.is_meta and weight.dtype in _FLOATS
    return is_dense and bool(weight.isfinite().all())
