"""Normalisation on the compute device; pixels travel as uint8 until then.

The way from a file to pixels (decoding, resizing, cropping) lies with whoever reads files; the
figures it needs are in `CascadeConfig.preprocess`.
"""

import torch
from torch import Tensor

from dvt.config import Preprocess

__all__ = ["normalise", "pixels_to_unit"]


def pixels_to_unit(pixels_BSS3: Tensor) -> Tensor:
    """uint8 pixels [B, S, S, 3] to float32 images [B, 3, S, S] in [0, 1]."""
    return pixels_BSS3.permute(0, 3, 1, 2).float() / 255


def normalise(images_B3SS: Tensor, preprocess: Preprocess) -> Tensor:
    """Images in [0, 1] to the model's input: minus mean, over deviation, per channel."""
    mean = torch.tensor(preprocess.mean, device=images_B3SS.device).view(3, 1, 1)
    std = torch.tensor(preprocess.std, device=images_B3SS.device).view(3, 1, 1)
    return (images_B3SS - mean) / std
