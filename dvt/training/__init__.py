"""Training of cascades: recipe, loss, augmentation and the loop. No data sets, no files."""

from dvt.training.loop import EpochResult, evaluate_exits, train
from dvt.training.recipe import TrainingRecipe

__all__ = ["EpochResult", "TrainingRecipe", "evaluate_exits", "train"]
