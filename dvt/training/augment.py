"""Augmentation of whole batches on the compute device, with random choices per image.

Shapes: B images, S pixels per side.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from dvt.training.batch_rng import BatchRng
from dvt.training.recipe import TrainingRecipe

__all__ = ["augment"]


def augment(images_B3SS: Tensor, recipe: TrainingRecipe, rng: BatchRng) -> Tensor:
    """Augments images [B, 3, S, S] in [0, 1] with the recipe's strengths.

    Args:
        images_B3SS: this process's images of a batch.
        recipe: strengths; 0 disables an augmentation.
        rng: random numbers of these images.
    """
    images = images_B3SS
    if recipe.horizontal_flip:
        images = _flip(images, rng)
    if recipe.shift:
        images = _shift(images, recipe.shift, rng)
    if recipe.scale_jitter:
        images = _zoom(images, recipe.scale_jitter, rng)
    if recipe.brightness_jitter:
        gain_B = 1 + _symmetric(rng) * recipe.brightness_jitter
        images = (images * gain_B.to(images.device).view(-1, 1, 1, 1)).clamp(0, 1)
    if recipe.erase:
        images = _erase(images, recipe.erase, rng)
    return images


def _symmetric(rng: BatchRng) -> Tensor:
    """Uniform numbers in [-1, 1)."""
    return rng.rand() * 2 - 1


def _flip(images: Tensor, rng: BatchRng) -> Tensor:
    flipped_B = rng.rand() < 0.5
    return torch.where(flipped_B.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)


def _shift(images: Tensor, pixels: int, rng: BatchRng) -> Tensor:
    """Shifts by whole pixels; the border is mirrored."""
    count, _, side, _ = images.shape
    padded = F.pad(images, (pixels,) * 4, mode="reflect")
    starts_2B = rng.randint(2 * pixels + 1, 2)
    rows_BS, columns_BS = (starts_2B.unsqueeze(-1) + torch.arange(side)).to(images.device)
    number_B11 = torch.arange(count, device=images.device).view(-1, 1, 1)
    shifted = padded.permute(0, 2, 3, 1)[number_B11, rows_BS.unsqueeze(2), columns_BS.unsqueeze(1)]
    return shifted.permute(0, 3, 1, 2)


def _zoom(images: Tensor, jitter: float, rng: BatchRng) -> Tensor:
    """Zooms in and shifts in one resampling.

    The shift stays within what the zoom cuts off, so no border has to be filled.
    """
    zoom_B = 1 - rng.rand() * jitter
    maps_B23 = torch.zeros(len(images), 2, 3)
    maps_B23[:, 0, 0] = maps_B23[:, 1, 1] = zoom_B
    maps_B23[:, 0, 2] = _symmetric(rng) * (1 - zoom_B)
    maps_B23[:, 1, 2] = _symmetric(rng) * (1 - zoom_B)
    grid = F.affine_grid(maps_B23.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _erase(images: Tensor, share: float, rng: BatchRng) -> Tensor:
    """Fills a square with grey, possibly partly outside the image (cutout, arXiv 1708.04552)."""
    side = images.shape[-1]
    centres_2B = rng.rand(2) * side
    distance_2BS = (torch.arange(side) + 0.5 - centres_2B.unsqueeze(-1)).abs()
    rows_BS, columns_BS = (distance_2BS < share * side / 2).to(images.device)
    square = (rows_BS.unsqueeze(2) & columns_BS.unsqueeze(1)).unsqueeze(1)
    return images.masked_fill(square, 0.5)
