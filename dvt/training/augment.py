"""Augmentation of whole batches on the compute device: one random affine map an image."""

import torch
from torch import Tensor
from torch.nn import functional as F

from dvt.training.recipe import TrainingRecipe

__all__ = ["augment"]


def augment(images_B3SS: Tensor, recipe: TrainingRecipe, generator: torch.Generator) -> Tensor:
    """Images [B, 3, S, S] in [0, 1], each flipped, zoomed, shifted and brightened at random.

    Zoom and shift are one resampling by `grid_sample`, so that no border has to be invented: the
    shift stays inside what the zoom cut off.
    """
    count = len(images_B3SS)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    zoom_B = 1 - uniform(0, recipe.scale_jitter)
    flip_x_B = _sign(count, recipe.horizontal_flip, generator)
    flip_y_B = _sign(count, recipe.vertical_flip, generator)
    maps_B23 = torch.zeros(count, 2, 3)
    maps_B23[:, 0, 0], maps_B23[:, 1, 1] = zoom_B * flip_x_B, zoom_B * flip_y_B
    maps_B23[:, 0, 2] = uniform(-1, 1) * (1 - zoom_B)
    maps_B23[:, 1, 2] = uniform(-1, 1) * (1 - zoom_B)
    maps_B23 = maps_B23.to(images_B3SS.device)
    sampling = F.affine_grid(maps_B23, list(images_B3SS.shape), align_corners=False)
    moved_B3SS = F.grid_sample(
        images_B3SS, sampling, padding_mode="reflection", align_corners=False
    )
    gain_B = 1 + uniform(-recipe.brightness_jitter, recipe.brightness_jitter)
    return (moved_B3SS * gain_B.to(moved_B3SS.device).view(-1, 1, 1, 1)).clamp(0, 1)


def _sign(count: int, enabled: bool, generator: torch.Generator) -> Tensor:
    if not enabled:
        return torch.ones(count)
    return torch.randint(0, 2, (count,), generator=generator).float() * 2 - 1
