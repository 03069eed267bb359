"""Runs single stages on batches of uint8 pixels: what an actor, a profiler or a benchmark calls.

Shapes: n images, B = batch_size, S pixels a side.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt.cascade import Cascade
from dvt.inference.memory import keep_freed_memory
from dvt.inference.state_codec import tensor_over
from dvt.preprocess import normalise, pixels_to_unit
from dvt.reuse import StageState, pad_images
from dvt.stage import StageOutput

__all__ = ["StageExecutor", "make_executor"]


class StageExecutor:
    """A cascade on its device and in its precision, its modules called as they are.

    Attributes:
        config: of the cascade.
        device: where it computes.
        dtype: of weights and activations.
    """

    def __init__(self, model: Cascade, device: torch.device, dtype: torch.dtype) -> None:
        self.config, self.device, self.dtype = model.config, device, dtype
        self._stages = list(model.to(device=device, dtype=dtype).eval().stages)

    def upload(self, pixels_nSS3: NDArray[np.uint8]) -> Callable[[], Tensor]:
        """Starts to bring pixels [n, S, S, 3] to the device.

        Returns:
            What gives them there, once they are needed.
        """
        pixels = tensor_over(pixels_nSS3).to(self.device)
        return lambda: pixels

    @torch.inference_mode()
    def run(
        self, stage: int, pixels_nSS3: Tensor, upstream: StageState | None, batch_size: int
    ) -> StageOutput:
        """One stage (from 0) on up to `batch_size` images.

        A shorter batch is padded. Kernels choose another order of summation for other batch sizes,
        and with reduced precision that moves confidences visibly.

        Args:
            stage: from 0.
            pixels_nSS3: uploaded pixels.
            upstream: the state of the stage before, for the same images; None for the first.
            batch_size: images per forward pass.

        Returns:
            Rows for the n images. The next `run` may overwrite them: copy what outlives it.
        """
        assert len(pixels_nSS3) <= batch_size
        pixels_BSS3 = pad_images(pixels_nSS3, batch_size)
        if upstream is not None:
            upstream = upstream.padded(batch_size)
        return self._forward(stage, pixels_BSS3, upstream)[: len(pixels_nSS3)]

    def _forward(self, stage: int, pixels_BSS3: Tensor, upstream: StageState | None) -> StageOutput:
        images = normalise(pixels_to_unit(pixels_BSS3), self.config.preprocess).to(self.dtype)
        output: StageOutput = self._stages[stage](images, upstream)
        return output


def make_executor(
    model: Cascade, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> StageExecutor:
    """The fastest way to run this model.

    Args:
        model: is moved and cast itself.
        device: None for where the model is.
        dtype: None for the precision that the model has.
    """
    weight = next(model.parameters())
    device, dtype = device or weight.device, dtype or weight.dtype
    if device.type == "cuda":
        from dvt.inference.cuda_graphs import CudaGraphExecutor

        return CudaGraphExecutor(model, device, dtype)
    keep_freed_memory()
    return StageExecutor(model, device, dtype)
