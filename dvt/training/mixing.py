"""Mixup (arXiv 1710.09412) and cutmix (arXiv 1905.04899): images of a batch and their labels mixed.

As in timm, the whole batch has one mixing share, and if both are enabled each batch uses either
with probability 1/2. Each process mixes its own images.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from dvt.training.batch_rng import BatchRng
from dvt.training.recipe import TrainingRecipe

__all__ = ["mix"]


def mix(
    images_B3SS: Tensor, labels_B: Tensor, num_classes: int, recipe: TrainingRecipe, rng: BatchRng
) -> tuple[Tensor, Tensor]:
    """Mixed images and class probabilities [B, num_classes]; unchanged inputs if both are off.

    Args:
        images_B3SS: in any range.
        labels_B: class ids.
        num_classes: of the model.
        recipe: alphas of mixup and cutmix.
        rng: random numbers of these images.
    """
    generator = rng.generator
    alphas = [alpha for alpha in (recipe.mixup, recipe.cutmix) if alpha > 0]
    if not alphas:
        return images_B3SS, labels_B
    chosen = int(torch.randint(len(alphas), (), generator=generator))
    share = _beta(alphas[chosen], generator)
    is_cutmix = recipe.cutmix > 0 and chosen == len(alphas) - 1
    others_B = rng.permutation().to(labels_B.device)
    if is_cutmix:
        images, share = _cutmix(images_B3SS, images_B3SS[others_B], share, generator)
    else:
        images = torch.lerp(images_B3SS[others_B], images_B3SS, share)
    classes_BC = F.one_hot(labels_B, num_classes).to(images.dtype)
    return images, torch.lerp(classes_BC[others_B], classes_BC, share)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """A sample of Beta(alpha, alpha), as a ratio of gammas, which accept a generator."""
    gammas = torch._standard_gamma(torch.full((2,), alpha), generator=generator)
    total = float(gammas.sum())
    return float(gammas[0]) / total if total > 0 else 0.5


def _cutmix(
    images: Tensor, others: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, float]:
    """Pastes a window of the other images; also returns the share that stays uncovered."""
    side = images.shape[-1]
    half = side * (1 - share) ** 0.5 / 2
    centre = torch.rand(2, generator=generator) * side
    top, left = (max(0, round(float(c) - half)) for c in centre)
    bottom, right = (min(side, round(float(c) + half)) for c in centre)
    pasted = images.clone()
    pasted[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return pasted, 1 - (bottom - top) * (right - left) / side**2
