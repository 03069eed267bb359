"""Adapters: a scale and a shift for each output channel of a network, as a small file.

Shapes: C output channels of all layers of a network, in the order of `EfficientNetLite.layers`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dvt.atomic_io import atomic_write
from dvt.errors import CheckpointError
from dvt.loading.weights import check_not_a_pointer
from dvt.members.efficientnet_lite import VARIANTS, EfficientNetLite

__all__ = ["Adapter", "read_adapter", "write_adapter"]


@dataclass(frozen=True, slots=True)
class Adapter:
    """What was trained for one network at one image size.

    Attributes:
        network: a key of `VARIANTS`.
        image_size: pixels per side in its training.
        scale: [C]; an output becomes `(1 + scale) * output + shift`.
        shift: [C].
    """

    network: str
    image_size: int
    scale: Tensor
    shift: Tensor

    @classmethod
    def identity(cls, network: str, image_size: int) -> Self:
        """An adapter that changes nothing."""
        num_channels = _num_channels(network)
        return cls(network, image_size, torch.zeros(num_channels), torch.zeros(num_channels))

    def apply(self, network: EfficientNetLite) -> None:
        """Multiplies weights and biases of a network by the adapter, in place.

        Raises:
            CheckpointError: the adapter is for another network.
        """
        if network.name != self.network:
            raise CheckpointError(f"adapter: is for {self.network}, not for {network.name}")
        layers = network.layers()
        sizes = [len(layer.weight) for layer in layers]
        parts = zip(layers, self.scale.split(sizes), self.shift.split(sizes), strict=True)
        with torch.no_grad():
            for layer, scale, shift in parts:
                layer.weight *= (1 + scale).view(-1, *[1] * (layer.weight.ndim - 1))
                layer.bias.mul_(1 + scale).add_(shift)


def write_adapter(adapter: Adapter, path: Path) -> None:
    """Writes an adapter in float16, atomically.

    Raises:
        OSError: the file cannot be written.
    """
    tensors = {"scale": adapter.scale.half(), "shift": adapter.shift.half()}
    described = {"network": adapter.network, "image_size": str(adapter.image_size)}
    with atomic_write(path) as partial:
        save_file(tensors, partial, described)


def read_adapter(path: Path) -> Adapter:
    """Reads an adapter.

    Raises:
        CheckpointError: missing, damaged, or of an unknown network.
    """
    check_not_a_pointer(path)
    try:
        with safe_open(path, "pt") as file:
            described = file.metadata() or {}
            scale, shift = (file.get_tensor(name).float() for name in ("scale", "shift"))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: is no adapter, or damaged") from error
    network, size = described.get("network", ""), described.get("image_size", "")
    if network not in VARIANTS:
        known = ", ".join(VARIANTS)
        raise CheckpointError(f"{path}: network must be one of {known} (got {network!r})")
    if not (size.isdecimal() and len(size) < 5):
        raise CheckpointError(f"{path}: image_size must be a number of pixels (got {size!r})")
    num_channels = _num_channels(network)
    for value in (scale, shift):
        if value.shape != (num_channels,) or not bool(value.isfinite().all()):
            raise CheckpointError(
                f"{path}: scale and shift must have {num_channels} finite numbers for {network}"
            )
    return Adapter(network, int(size), scale, shift)


def _num_channels(network: str) -> int:
    with torch.device("meta"):
        return sum(len(layer.weight) for layer in EfficientNetLite(network).layers())
