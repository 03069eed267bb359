"""Chooses how a DVT runs on a device."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from dvt.inference.cuda_graphs import CudaGraphExecutor
from dvt.inference.executor import TorchExecutor
from dvt.inference.memory import keep_freed_memory

if TYPE_CHECKING:  # a model makes its executor
    from dvt.model import ModelSpec

__all__ = ["make_torch_executor"]


def make_torch_executor(
    spec: "ModelSpec", stages: Sequence[nn.Module], device: torch.device, dtype: torch.dtype
) -> TorchExecutor:
    """The fastest executor for these stages on this device; arguments as of `TorchExecutor`."""
    if device.type == "cuda":
        return CudaGraphExecutor(spec, stages, device, dtype)
    keep_freed_memory()
    return TorchExecutor(spec, stages, device, dtype)
