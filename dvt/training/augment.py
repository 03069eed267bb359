"""Augmentation of whole batches on the compute device, each image by its own random choices.

Shapes: B images, S pixels a side. Every choice comes from the generator given, on the processor.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from dvt.training.rand_augment import rand_augment
from dvt.training.recipe import TrainingRecipe

__all__ = ["augment"]


def augment(images_B3SS: Tensor, recipe: TrainingRecipe, generator: torch.Generator) -> Tensor:
    """Images [B, 3, S, S] in [0, 1], each changed at random as the recipe has it."""
    images = images_B3SS
    if recipe.horizontal_flip:
        images = _flipped(images, 3, generator)
    if recipe.vertical_flip:
        images = _flipped(images, 2, generator)
    if recipe.shift:
        images = _shifted(images, recipe.shift, generator)
    if recipe.scale_jitter:
        images = _zoomed(images, recipe.scale_jitter, generator)
    if recipe.brightness_jitter:
        gain_B = 1 + _uniform(len(images), recipe.brightness_jitter, generator)
        images = (images * gain_B.to(images.device).view(-1, 1, 1, 1)).clamp(0, 1)
    for _ in range(recipe.rand_augment):
        images = rand_augment(images, recipe.rand_augment_magnitude / 10, generator)
    if recipe.erase:
        images = _erased(images, recipe.erase, generator)
    return images


def _uniform(count: int, bound: float, generator: torch.Generator) -> Tensor:
    """Numbers from -bound to bound."""
    return (torch.rand(count, generator=generator) * 2 - 1) * bound


def _flipped(images: Tensor, axis: int, generator: torch.Generator) -> Tensor:
    chosen_B = torch.rand(len(images), generator=generator) < 0.5
    chosen = chosen_B.to(images.device).view(-1, 1, 1, 1)
    return torch.where(chosen, images.flip(axis), images)


def _shifted(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Moved by whole pixels; what comes in is the mirrored border."""
    count, _, side, _ = images.shape
    padded = F.pad(images, (pixels,) * 4, mode="reflect")
    starts_2B = torch.randint(0, 2 * pixels + 1, (2, count), generator=generator)
    rows_BS, columns_BS = (starts_2B.unsqueeze(-1) + torch.arange(side)).to(images.device)
    number_B11 = torch.arange(count, device=images.device).view(-1, 1, 1)
    moved = padded.permute(0, 2, 3, 1)[number_B11, rows_BS.unsqueeze(2), columns_BS.unsqueeze(1)]
    return moved.permute(0, 3, 1, 2)


def _zoomed(images: Tensor, jitter: float, generator: torch.Generator) -> Tensor:
    """Zoomed in and moved by one resampling.

    The shift stays inside what the zoom cuts off, so that no border has to be invented.
    """
    count = len(images)
    zoom_B = 1 - torch.rand(count, generator=generator) * jitter
    maps_B23 = torch.zeros(count, 2, 3)
    maps_B23[:, 0, 0] = maps_B23[:, 1, 1] = zoom_B
    maps_B23[:, 0, 2] = _uniform(count, 1, generator) * (1 - zoom_B)
    maps_B23[:, 1, 2] = _uniform(count, 1, generator) * (1 - zoom_B)
    sampling = F.affine_grid(maps_B23.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, sampling, padding_mode="reflection", align_corners=False)


def _erased(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A grey square somewhere, partly outside perhaps (cutout, arXiv 1708.04552)."""
    count, _, side, _ = images.shape
    centres_2B = torch.rand(2, count, generator=generator) * side
    distance_2BS = (torch.arange(side) + 0.5 - centres_2B.unsqueeze(-1)).abs()
    rows_BS, columns_BS = (distance_2BS < share * side / 2).to(images.device)
    square = (rows_BS.unsqueeze(2) & columns_BS.unsqueeze(1)).unsqueeze(1)
    return images.masked_fill(square, 0.5)
