"""RandAugment on batches in plain torch: every image gets one operation of its own.

Source: Cubuk et al., arXiv 1909.13719, with the ranges of timm's `rand-m9`, histogram equalisation
left out. Shapes: n images, S pixels a side; values in [0, 1].
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from dvt.training.draws import Draws

__all__ = ["OPERATIONS", "rand_augment"]

# Images [n, 3, S, S] and signed strengths [n] from -1 to 1, for full strength at magnitude 10.
Operation = Callable[[Tensor, Tensor], Tensor]


def rand_augment(images_B3SS: Tensor, strength: float, draws: Draws) -> Tensor:
    """One round: one operation an image, drawn evenly.

    Args:
        images_B3SS: in [0, 1].
        strength: from 0 to 1; magnitude 9 is 0.9.
        draws: the random numbers of these images.
    """
    choices_B = draws.randint(len(OPERATIONS))
    signs_B = draws.randint(2) * 2 - 1
    changed = images_B3SS.clone()
    for number, operation in enumerate(OPERATIONS.values()):
        rows = (choices_B == number).nonzero().squeeze(1)
        if len(rows):
            signed = (signs_B[rows] * strength).to(changed.device)
            rows = rows.to(changed.device)
            changed[rows] = operation(images_B3SS[rows], signed).clamp(0, 1)
    return changed


def _by_image(values_n: Tensor) -> Tensor:
    return values_n.view(-1, 1, 1, 1)


def _affine(images: Tensor, maps_n23: Tensor) -> Tensor:
    sampling = F.affine_grid(maps_n23, list(images.shape), align_corners=False)
    return F.grid_sample(images, sampling, padding_mode="reflection", align_corners=False)


def _map(images: Tensor, entries: dict[tuple[int, int], Tensor]) -> Tensor:
    maps_n23 = torch.eye(2, 3, device=images.device).repeat(len(images), 1, 1)
    for (row, column), values_n in entries.items():
        maps_n23[:, row, column] = values_n
    return _affine(images, maps_n23)


def _rotate(images: Tensor, signed_n: Tensor) -> Tensor:
    angle = signed_n * math.radians(30)
    sine, cosine = angle.sin(), angle.cos()
    return _map(images, {(0, 0): cosine, (0, 1): -sine, (1, 0): sine, (1, 1): cosine})


def _blend(images: Tensor, other: Tensor, signed_n: Tensor) -> Tensor:
    """From `other` (at -1: a tenth of the image) over the image (at 0) to what lies beyond."""
    return other + (images - other) * _by_image(1 + 0.9 * signed_n)


def _grey(images: Tensor) -> Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def _sharpness(images: Tensor, signed_n: Tensor) -> Tensor:
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    blurred = (F.avg_pool2d(padded, 3, 1) * 9 + images * 4) / 13
    return _blend(images, blurred, signed_n)


def _posterize(images: Tensor, signed_n: Tensor) -> Tensor:
    levels = 2 ** _by_image(8 - (4 * signed_n.abs()).round())
    return (images * 255 / 256 * levels).floor() / levels * 256 / 255


def _autocontrast(images: Tensor, signed_n: Tensor) -> Tensor:
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    return (images - low) / (high - low).clamp(min=1 / 255)


OPERATIONS: dict[str, Operation] = {
    "shear_x": lambda images, signed: _map(images, {(0, 1): 0.3 * signed}),
    "shear_y": lambda images, signed: _map(images, {(1, 0): 0.3 * signed}),
    "translate_x": lambda images, signed: _map(images, {(0, 2): 0.9 * signed}),
    "translate_y": lambda images, signed: _map(images, {(1, 2): 0.9 * signed}),
    "rotate": _rotate,
    "brightness": lambda images, signed: images * _by_image(1 + 0.9 * signed),
    "colour": lambda images, signed: _blend(images, _grey(images), signed),
    "contrast": lambda images, signed: _blend(
        images, _grey(images).mean(dim=(2, 3), keepdim=True), signed
    ),
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": lambda images, signed: torch.where(
        images >= _by_image(1 - signed.abs()), 1 - images, images
    ),
    "solarize_add": lambda images, signed: torch.where(
        images < 0.5, images + _by_image(0.43 * signed.abs()), images
    ),
    "autocontrast": _autocontrast,
    "invert": lambda images, signed: 1 - images,
}
