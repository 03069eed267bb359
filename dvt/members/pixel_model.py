"""Base of the models whose stages are executors over uint8 pixels, not torch modules.

A subclass says what it is (`spec`, `digest`) and makes its executor; calling it and `predict` work
on normalised images, as for a DVT. Shapes: B images, S pixels per side.
"""

import torch
from torch import Tensor

from dvt.config import Preprocess
from dvt.inference.executor import StageExecutor
from dvt.model import Calibration, Model
from dvt.reuse import StageState
from dvt.stage import StageOutput

__all__ = ["PixelModel", "pixels_of"]


class PixelModel(Model):
    """A model that computes on uint8 pixels.

    Args:
        labels: class names in order of their ids, or None.
        calibration: thresholds and measured figures.
    """

    def __init__(
        self, labels: tuple[str, ...] | None = None, calibration: Calibration | None = None
    ) -> None:
        self.labels = labels
        self.calibration = calibration or Calibration()
        self._executor: StageExecutor | None = None

    @torch.inference_mode()
    def __call__(self, images_B3SS: Tensor) -> list[Tensor]:
        """Logits [B, num_classes] of every exit at full depth."""
        inputs, state = self._inputs(images_B3SS), None
        logits: list[Tensor] = []
        for index in range(self.spec.num_stages):
            output = self._run_stage(index, inputs, state)
            logits.append(output.logits.clone())  # the next run may overwrite the output
            state = None if output.state is None else StageState.join([output.state])
        return logits

    def _inputs(self, images_B3SS: Tensor) -> Tensor:
        return pixels_of(images_B3SS, self.spec.preprocess)

    def _run_stage(self, index: int, inputs: Tensor, upstream: StageState | None) -> StageOutput:
        if self._executor is None:
            self._executor = self.make_executor()
        return self._executor.run(index, inputs, upstream, len(inputs))


def pixels_of(images_B3SS: Tensor, preprocess: Preprocess) -> Tensor:
    """Undoes the normalisation of images that were uint8 pixels: [B, S, S, 3]."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std))
    unit = images_B3SS.float().cpu() * std + mean
    return (unit * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
