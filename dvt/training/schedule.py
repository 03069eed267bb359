"""The learning rate schedule."""

import math

from dvt.training.recipe import TrainingRecipe

__all__ = ["learning_rate_factor"]


def learning_rate_factor(step: int, steps_per_epoch: int, recipe: TrainingRecipe) -> float:
    """Share of the recipe's learning rate: linear warmup, then cosine or linear decay.

    Args:
        step: from 0, over all epochs.
        steps_per_epoch: of the data.
        recipe: epochs, warmup, decay and final rate.
    """
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, recipe.epochs * steps_per_epoch - warmup))
    left = 1 - progress if recipe.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
    floor = min(1.0, recipe.final_learning_rate / recipe.learning_rate)
    return floor + (1 - floor) * left
