"""Chooses how a model runs on a device."""

import torch

from dvt.cascade import Cascade
from dvt.inference.cuda_graphs import CudaGraphExecutor
from dvt.inference.executor import StageExecutor
from dvt.inference.memory import keep_freed_memory

__all__ = ["make_executor"]


def make_executor(
    model: Cascade, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> StageExecutor:
    """The fastest executor for this model on this device.

    Args:
        model: moved and cast in place.
        device: None for the model's device.
        dtype: None for the model's precision.
    """
    weight = next(model.parameters())
    device, dtype = device or weight.device, dtype or weight.dtype
    if device.type == "cuda":
        return CudaGraphExecutor(model, device, dtype)
    keep_freed_memory()
    return StageExecutor(model, device, dtype)
