"""Mixup and cutmix: pictures of a batch blended or pasted into each other, labels with them.

Sources: mixup, arXiv 1710.09412; cutmix, arXiv 1905.04899. As in timm, one share for a batch, and
either of the two at even odds where both are on. Where several processes share a batch, each mixes
its own pictures.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from dvt.training.draws import Draws
from dvt.training.recipe import TrainingRecipe

__all__ = ["mix"]


def mix(
    images_B3SS: Tensor,
    labels_B: Tensor,
    num_classes: int,
    recipe: TrainingRecipe,
    draws: Draws,
) -> tuple[Tensor, Tensor]:
    """Mixed images, and the shares of the classes [B, num_classes]; as they were if both are off.

    Args:
        images_B3SS: in any range.
        labels_B: class ids.
        num_classes: of the model.
        recipe: has the alphas.
        draws: the random numbers of these images.
    """
    generator = draws.generator
    alphas = [alpha for alpha in (recipe.mixup, recipe.cutmix) if alpha > 0]
    if not alphas:
        return images_B3SS, labels_B
    chosen = int(torch.randint(len(alphas), (), generator=generator))
    share = _beta(alphas[chosen], generator)
    is_cutmix = recipe.cutmix > 0 and chosen == len(alphas) - 1
    others_B = draws.permutation().to(labels_B.device)
    if is_cutmix:
        images, share = _pasted(images_B3SS, images_B3SS[others_B], share, generator)
    else:
        images = torch.lerp(images_B3SS[others_B], images_B3SS, share)
    classes_BC = F.one_hot(labels_B, num_classes).to(images.dtype)
    return images, torch.lerp(classes_BC[others_B], classes_BC, share)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """A draw from Beta(alpha, alpha), as a ratio of gammas of the generator's own numbers."""
    gammas = torch._standard_gamma(torch.full((2,), alpha), generator=generator)
    total = float(gammas.sum())
    return float(gammas[0]) / total if total > 0 else 0.5


def _pasted(
    images: Tensor, others: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, float]:
    """A window of the other pictures put in; the share that is left of the own ones."""
    side = images.shape[-1]
    half = side * (1 - share) ** 0.5 / 2
    centre = torch.rand(2, generator=generator) * side
    top, left = (max(0, round(float(c) - half)) for c in centre)
    bottom, right = (min(side, round(float(c) + half)) for c in centre)
    pasted = images.clone()
    pasted[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return pasted, 1 - (bottom - top) * (right - left) / side**2
