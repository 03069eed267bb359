"""`dvt train`: trains a cascade on labelled pictures and writes a checkpoint folder."""

import logging
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import yaml
from pydantic import Field, ValidationError

from dvt.calibration import SWEEP_POSITIONS, evaluate_thresholds, sweep_thresholds
from dvt.cascade import Calibration, Cascade
from dvt.checkpoint import save_model
from dvt.config import first_problem
from dvt.cost import gmacs_per_exit
from dvt.device import best_device
from dvt.fast import make_executor
from dvt.presets import preset
from dvt.training import EpochResult, TrainingRecipe, train
from jobs.exit_record import judged
from jobs.labelled import LabelledPictures, load_labelled
from jobs.options import Job, JobResult, job_command
from pipeline.errors import UsageError
from pipeline.placement import decode_settings

__all__ = ["TrainJob", "calibrate_by_sweep", "command", "run_train"]

logger = logging.getLogger(__name__)


class TrainJob(Job):
    """Trains a cascade.

    --recipe is a YAML file with `preset`, `data`, `validation_data` and `training` (see
    jobs/recipes/). The validation data give the thresholds; they are never trained on.
    """

    recipe: Annotated[str, Field(description="YAML file, or the name of a shipped recipe")]
    out: Annotated[Path, Field(description="checkpoint folder to write")]


class RecipeFile(Job):
    """What a recipe file holds."""

    preset: Annotated[str, Field(description="name of a preset")]
    data: str
    validation_data: str
    drop: Annotated[float, Field(ge=0, lt=1)] = 0.005
    weights: Literal["float32", "float16"] = "float32"
    training: TrainingRecipe = TrainingRecipe()


def run_train(job: TrainJob) -> JobResult:
    """Trains, chooses thresholds on the validation data, and writes the checkpoint.

    Raises:
        UsageError: the recipe, or the data it names, cannot be used.
    """
    recipe = _read_recipe(job.recipe)
    started = time.perf_counter()
    config = preset(recipe.preset)
    pictures = load_labelled(recipe.data, decode_settings(config))
    held_out = load_labelled(recipe.validation_data, decode_settings(config), pictures.names)
    loaded = time.perf_counter()
    logger.info(
        "%d training and %d validation pictures", len(pictures.labels), len(held_out.labels)
    )
    if unreadable := pictures.num_unreadable + held_out.num_unreadable:
        logger.warning("left out %d pictures that cannot be read", unreadable)
    config = config.with_changes(num_classes=len(pictures.names))
    torch.manual_seed(recipe.training.seed)
    model = Cascade(config, labels=pictures.names).to(best_device())

    def log(result: EpochResult) -> None:
        logger.info(
            "epoch %d of %d: loss %.3f, %.0f s",
            result.epoch,
            recipe.training.epochs,
            result.loss,
            result.seconds,
        )

    train(model, pictures.pixels, pictures.labels, recipe.training, log)
    trained = time.perf_counter()
    model.calibration = calibrate_by_sweep(model, held_out, recipe.drop, recipe.validation_data)
    save_model(model, job.out, getattr(torch, recipe.weights))
    accuracies = model.calibration.accuracy_per_exit
    data: dict[str, Any] = {
        "out": str(job.out),
        "validation_accuracy_per_exit": accuracies,
        "thresholds": model.calibration.thresholds,
        "gmacs_per_exit": gmacs_per_exit(config),
        "load_seconds": round(loaded - started, 1),
        "train_seconds": round(trained - loaded, 1),
        "threads": torch.get_num_threads(),
    }
    lines = (
        f"trained in {trained - loaded:.0f} s, after {loaded - started:.0f} s of loading",
        "validation accuracy at the exits: " + " / ".join(f"{100 * a:.2f} %" for a in accuracies),
        f"checkpoint: {job.out}",
    )
    return JobResult(lines=lines, data=data)


def calibrate_by_sweep(
    model: Cascade, pictures: LabelledPictures, drop: float, name: str
) -> Calibration:
    """Thresholds from the reference's sweep: the cheapest that loses at most `drop` accuracy.

    Args:
        model: trained.
        pictures: held out.
        drop: accuracy that may be given up against the last exit, as a fraction.
        name: of the data, for the record.
    """
    confidences_En, correct_En = judged(make_executor(model), pictures.pixels, pictures.labels)
    accuracies = tuple(float(value) for value in correct_En.mean(axis=1))
    cost = gmacs_per_exit(model.config)
    points = [
        evaluate_thresholds(confidences_En, correct_En, sweep_thresholds(confidences_En, p), cost)
        for p in SWEEP_POSITIONS
    ]
    good = [point for point in points if point.accuracy >= accuracies[-1] - drop]
    chosen = min(good or points[-1:], key=lambda point: point.gmacs)
    return Calibration(
        thresholds=chosen.thresholds,
        accuracy_per_exit=accuracies,
        curve=tuple((point.gmacs, point.accuracy) for point in points),
        threshold_sweep=tuple(point.thresholds for point in points),
        data=name,
    )


def _read_recipe(name: str) -> RecipeFile:
    path = Path(name)
    shipped = Path(__file__).parent / "recipes" / f"{name}.yaml"
    if not path.is_file() and shipped.is_file():
        path = shipped
    try:
        return RecipeFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"recipe: no such file or shipped recipe: {name}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"recipe: {path} is not valid YAML") from error
    except ValidationError as error:
        raise UsageError(f"recipe: {path}: {first_problem(error)}") from error


command = job_command("train", TrainJob, run_train)
