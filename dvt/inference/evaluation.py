"""Softmax scores of every exit for images in memory."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt.exits import scores
from dvt.inference.executor import StageExecutor
from dvt.reuse import StageState

__all__ = ["exit_scores"]


def exit_scores(
    executor: StageExecutor, pixels_NSS3: NDArray[np.uint8], batch_size: int = 128
) -> NDArray[np.float32]:
    """Softmax scores of every exit at full depth, [E, N, num_classes].

    Args:
        executor: the model on its device, in its precision.
        pixels_NSS3: images [N, S, S, 3], S the model's image size.
        batch_size: images per forward pass.
    """
    batches: list[Tensor] = []
    for start in range(0, len(pixels_NSS3), batch_size):
        pixels = executor.upload(pixels_NSS3[start : start + batch_size])()
        state: StageState | None = None
        exits: list[Tensor] = []
        for stage in range(executor.spec.num_stages):
            output = executor.run(stage, pixels, state, batch_size)
            exits.append(scores(output.logits))  # a copy: the next run may overwrite the output
            state = output.state
        batches.append(torch.stack(exits).cpu())
    return torch.cat(batches, dim=1).numpy()
