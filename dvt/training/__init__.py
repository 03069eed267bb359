"""Training of cascades: recipe, loss, augmentation, training loop. No data sets, no files."""

from dvt.training.parallel import DataParallel
from dvt.training.recipe import TrainingRecipe
from dvt.training.trainer import EpochResult, Trainer

__all__ = ["DataParallel", "EpochResult", "Trainer", "TrainingRecipe"]
