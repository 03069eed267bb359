"""Runs single stages on batches of uint8 pixels.

Shapes: n images, B = batch_size, S pixels per side.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt.cascade import Cascade
from dvt.inference.state_codec import tensor_view
from dvt.preprocess import normalise, pixels_to_unit
from dvt.reuse import StageState, pad_images
from dvt.stage import StageOutput

__all__ = ["StageExecutor"]


class StageExecutor:
    """A cascade on its device and in its precision; each stage is one call of its module.

    Attributes:
        config: of the cascade.
        device: of weights and activations.
        dtype: of weights and activations.
    """

    def __init__(self, model: Cascade, device: torch.device, dtype: torch.dtype) -> None:
        self.config, self.device, self.dtype = model.config, device, dtype
        self._stages = list(model.to(device=device, dtype=dtype).eval().stages)

    def upload(self, pixels_nSS3: NDArray[np.uint8]) -> Callable[[], Tensor]:
        """Starts the copy of pixels [n, S, S, 3] to the device.

        Returns:
            A function that waits for the copy and returns the pixels on the device.
        """
        pixels = tensor_view(pixels_nSS3).to(self.device)
        return lambda: pixels

    @torch.inference_mode()
    def run(
        self, stage: int, pixels_nSS3: Tensor, upstream: StageState | None, batch_size: int
    ) -> StageOutput:
        """Runs one stage on up to `batch_size` images.

        A shorter batch is padded: kernels sum in another order for another batch size, and with
        reduced precision that changes confidences visibly.

        Args:
            stage: from 0.
            pixels_nSS3: uploaded pixels.
            upstream: the previous stage's state for the same images; None for the first stage.
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
