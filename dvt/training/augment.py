"""Augmentation of whole batches on the compute device, each image by its own random choices.

Shapes: B images, S pixels a side. Every choice comes from the draws given, on the processor.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from dvt.training.draws import Draws
from dvt.training.rand_augment import rand_augment
from dvt.training.recipe import TrainingRecipe

__all__ = ["augment"]


def augment(images_B3SS: Tensor, recipe: TrainingRecipe, draws: Draws) -> Tensor:
    """Images [B, 3, S, S] in [0, 1], each changed at random as the recipe has it.

    Args:
        images_B3SS: a batch, or the share of it that the draws are for.
        recipe: has the strengths.
        draws: the random numbers of these images.
    """
    images = images_B3SS
    if recipe.horizontal_flip:
        images = _flipped(images, 3, draws)
    if recipe.vertical_flip:
        images = _flipped(images, 2, draws)
    if recipe.shift:
        images = _shifted(images, recipe.shift, draws)
    if recipe.scale_jitter:
        images = _zoomed(images, recipe.scale_jitter, draws)
    if recipe.brightness_jitter:
        gain_B = 1 + _uniform(draws, recipe.brightness_jitter)
        images = (images * gain_B.to(images.device).view(-1, 1, 1, 1)).clamp(0, 1)
    for _ in range(recipe.rand_augment):
        images = rand_augment(images, recipe.rand_augment_magnitude / 10, draws)
    if recipe.erase:
        images = _erased(images, recipe.erase, draws)
    return images


def _uniform(draws: Draws, bound: float) -> Tensor:
    """Numbers from -bound to bound."""
    return (draws.rand() * 2 - 1) * bound


def _flipped(images: Tensor, axis: int, draws: Draws) -> Tensor:
    chosen_B = draws.rand() < 0.5
    chosen = chosen_B.to(images.device).view(-1, 1, 1, 1)
    return torch.where(chosen, images.flip(axis), images)


def _shifted(images: Tensor, pixels: int, draws: Draws) -> Tensor:
    """Moved by whole pixels; what comes in is the mirrored border."""
    count, _, side, _ = images.shape
    padded = F.pad(images, (pixels,) * 4, mode="reflect")
    starts_2B = draws.randint(2 * pixels + 1, 2)
    rows_BS, columns_BS = (starts_2B.unsqueeze(-1) + torch.arange(side)).to(images.device)
    number_B11 = torch.arange(count, device=images.device).view(-1, 1, 1)
    moved = padded.permute(0, 2, 3, 1)[number_B11, rows_BS.unsqueeze(2), columns_BS.unsqueeze(1)]
    return moved.permute(0, 3, 1, 2)


def _zoomed(images: Tensor, jitter: float, draws: Draws) -> Tensor:
    """Zoomed in and moved by one resampling.

    The shift stays inside what the zoom cuts off, so that no border has to be invented.
    """
    count = len(images)
    zoom_B = 1 - draws.rand() * jitter
    maps_B23 = torch.zeros(count, 2, 3)
    maps_B23[:, 0, 0] = maps_B23[:, 1, 1] = zoom_B
    maps_B23[:, 0, 2] = _uniform(draws, 1) * (1 - zoom_B)
    maps_B23[:, 1, 2] = _uniform(draws, 1) * (1 - zoom_B)
    sampling = F.affine_grid(maps_B23.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images, sampling, padding_mode="reflection", align_corners=False)


def _erased(images: Tensor, share: float, draws: Draws) -> Tensor:
    """A grey square somewhere, partly outside perhaps (cutout, arXiv 1708.04552)."""
    side = images.shape[-1]
    centres_2B = draws.rand(2) * side
    distance_2BS = (torch.arange(side) + 0.5 - centres_2B.unsqueeze(-1)).abs()
    rows_BS, columns_BS = (distance_2BS < share * side / 2).to(images.device)
    square = (rows_BS.unsqueeze(2) & columns_BS.unsqueeze(1)).unsqueeze(1)
    return images.masked_fill(square, 0.5)
