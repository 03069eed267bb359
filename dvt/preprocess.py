"""Normalisation on the compute device; pixels travel as uint8 until then.

The way from a file to pixels (decoding, resizing, cropping) lies with whoever reads files; the
figures it needs are in `CascadeConfig.preprocess`.
"""

from functools import cache

import torch
from torch import Tensor

from dvt.config import Preprocess

__all__ = ["normalise", "pixels_to_unit"]


def pixels_to_unit(pixels_BSS3: Tensor) -> Tensor:
    """uint8 pixels [B, S, S, 3] to float32 images [B, 3, S, S] in [0, 1]."""
    return pixels_BSS3.permute(0, 3, 1, 2).float() / 255


def normalise(images_B3SS: Tensor, preprocess: Preprocess) -> Tensor:
    """Images in [0, 1] to the model's input: minus mean, over deviation, per channel."""
    mean, std = _moments(preprocess, images_B3SS.device)
    return (images_B3SS - mean) / std


@cache
def _moments(preprocess: Preprocess, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation [3, 1, 1] on a device, brought there once."""
    with torch.inference_mode(False):  # training reads them too
        mean, std = (torch.tensor(value) for value in (preprocess.mean, preprocess.std))
        return mean.view(3, 1, 1).to(device), std.view(3, 1, 1).to(device)
