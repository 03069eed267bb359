"""Training of cascades: recipe, loss, augmentation and the loop. No data sets, no files."""

from dvt.training.evaluation import evaluate_exits
from dvt.training.parallel import DataParallel
from dvt.training.recipe import TrainingRecipe
from dvt.training.trainer import EpochResult, Trainer

__all__ = ["DataParallel", "EpochResult", "Trainer", "TrainingRecipe", "evaluate_exits"]
