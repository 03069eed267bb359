"""What runs single stages on batches of uint8 pixels.

A `StageExecutor` is one model on one device in one precision. `TorchExecutor` runs the stages of a
DVT; the kinds in `dvt/members/` have their own.

Shapes: n images, B = batch_size, S pixels per side.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dvt.embedding import Embedder
from dvt.inference.state_codec import tensor_view
from dvt.preprocess import normalise, pixels_to_unit
from dvt.reuse import StageState, pad_images
from dvt.stage import StageOutput

if TYPE_CHECKING:  # a model makes its executor
    from dvt.model import ModelSpec

__all__ = ["StageExecutor", "TorchExecutor"]


class StageExecutor(ABC):
    """A model on its device and in its precision.

    Attributes:
        spec: of the model.
        device: of weights and activations.
        dtype: of weights and activations.
        embedder: makes the first stage's embedding the one to store; None leaves it as it is.
    """

    def __init__(self, spec: "ModelSpec", device: torch.device, dtype: torch.dtype) -> None:
        self.spec, self.device, self.dtype = spec, device, dtype
        self.embedder: Embedder | None = None

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
        output = self._forward(stage, pixels_BSS3, upstream)
        if stage == 0 and self.embedder is not None and output.embedding is not None:
            # In the whole batch: matrix products sum in another order for another batch size.
            output = replace(output, embedding=self.embedder(output.embedding))
        return output[: len(pixels_nSS3)]

    @abstractmethod
    def _forward(self, stage: int, pixels_BSS3: Tensor, upstream: StageState | None) -> StageOutput:
        """Runs one stage on a whole batch."""


class TorchExecutor(StageExecutor):
    """The stages of a DVT, each one call of its module.

    Args:
        spec: of the model.
        stages: its modules, on the device and in the precision.
        device: of the modules.
        dtype: of the modules.
    """

    def __init__(
        self,
        spec: "ModelSpec",
        stages: Sequence[nn.Module],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(spec, device, dtype)
        self._stages = list(stages)

    def _forward(self, stage: int, pixels_BSS3: Tensor, upstream: StageState | None) -> StageOutput:
        images = normalise(pixels_to_unit(pixels_BSS3), self.spec.preprocess).to(self.dtype)
        output: StageOutput = self._stages[stage](images, upstream)
        return output
