"""Normalisation on the compute device; pixels stay uint8 until then.

Decoding, resizing and cropping happen where files are read; their parameters are in
`CascadeConfig.preprocess`. Shapes: B images, S pixels per side.
"""

from functools import cache

import torch
from torch import Tensor

from dvt.config import Preprocess

__all__ = ["normalise", "pixels_to_unit"]


def pixels_to_unit(pixels_BSS3: Tensor) -> Tensor:
    """Converts uint8 pixels [B, S, S, 3] to float32 images [B, 3, S, S] in [0, 1]."""
    return pixels_BSS3.permute(0, 3, 1, 2).float() / 255


def normalise(images_B3SS: Tensor, preprocess: Preprocess) -> Tensor:
    """Converts images in [0, 1] to the model's input: (image - mean) / std per channel."""
    mean, std = _moments(preprocess, images_B3SS.device)
    return (images_B3SS - mean) / std


@cache
def _moments(preprocess: Preprocess, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation [3, 1, 1], copied to the device once."""
    with torch.inference_mode(False):  # training reads them too
        mean, std = (torch.tensor(value) for value in (preprocess.mean, preprocess.std))
        return mean.view(3, 1, 1).to(device), std.view(3, 1, 1).to(device)
