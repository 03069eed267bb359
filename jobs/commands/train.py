"""`dvt train`: trains a cascade on labelled pictures and writes a checkpoint folder."""

import contextlib
import copy
import logging
import os
import time
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from dvt.calibration import HELD_OUT, SWEEP_POSITIONS, evaluate_thresholds, sweep_thresholds
from dvt.cascade import Calibration, Cascade
from dvt.config import CascadeConfig
from dvt.cost import gmacs_per_exit
from dvt.device import best_device
from dvt.inference import deterministic_matmul, make_executor
from dvt.loading.checkpoint import load_model, save_model
from dvt.training import Trainer, TrainingRecipe
from jobs.datasets import LabelledPictures, load_labelled
from jobs.evaluation.recorder import ExitRecorder, evaluate_pictures
from jobs.options import Job, JobResult, job_command
from jobs.training.folder import TrainingFolder, training_digest
from jobs.training.loop import train_to_end
from jobs.training.recipe import RecipeFile, read_recipe
from jobs.training.workers import WorkersTraining, check_ray_train, train_on_workers
from pipeline.errors import UsageError
from pipeline.runtime.resource_plan import decode_settings

__all__ = ["TrainJob", "calibrate_by_sweep", "command", "run_train"]

logger = logging.getLogger(__name__)


class TrainJob(Job):
    """Trains a cascade, or goes on where an earlier run of the same command stopped.

    --recipe is a YAML file with `preset` or `model`, `data`, `validation_data` or
    `validation_images`, and `training` (see jobs/recipes/). The validation pictures give the
    learning curve and the thresholds; they are never trained on.
    """

    recipe: Annotated[str, Field(description="YAML file, or the name of a shipped recipe")]
    out: Annotated[Path, Field(description="checkpoint folder to write")]
    data: Annotated[str | None, Field(description="labelled pictures, instead of the recipe's")] = (
        None
    )
    validation_data: Annotated[
        str | None, Field(description="held-out pictures, instead of the recipe's")
    ] = None
    from_: Annotated[
        str | None, Field(description="fine-tune this checkpoint, with the data's classes")
    ] = None
    static: Annotated[
        int | None, Field(description="train the static model of this stage, from 1")
    ] = None
    feature_reuse: Annotated[bool | None, Field(description="true or false, for ablations")] = None
    relation_reuse: Annotated[bool | None, Field(description="true or false, for ablations")] = None
    epochs: Annotated[int | None, Field(ge=1, description="instead of the recipe's")] = None
    threads: Annotated[
        int | None, Field(ge=1, description="of the processor; of each worker if there are several")
    ] = None
    workers: Annotated[
        int, Field(ge=1, description="processes that share every batch, one a GPU where there are")
    ] = 1
    save_every_s: Annotated[
        float, Field(gt=0, description="seconds between two states that a kill leaves")
    ] = 300.0
    overwrite: Annotated[bool, Field(description="start anew where OUT holds a training")] = False


def run_train(job: TrainJob) -> JobResult:
    """Trains, chooses thresholds on the validation data, and writes the checkpoint.

    Raises:
        UsageError: the recipe, or the data it names, cannot be used; OUT holds another training;
            or there cannot be so many workers.
        PipelineError: workers failed again and again.
        KeyboardInterrupt: interrupted; the state is kept.
    """
    recipe = read_recipe(job.recipe).with_epochs(job.epochs)
    if job.workers > 1:
        check_ray_train()
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    started = time.perf_counter()
    source = None if job.from_ is None else load_model(job.from_)
    training = recipe.training
    if source is not None:  # its stems have their normalisation folded in; a new one would undo it
        training = training.model_copy(update={"batch_norm": False})
    config = _configuration(job, recipe, source)
    pictures, held_out = _load(job, recipe, config)
    loaded = time.perf_counter()
    logger.info(
        "%d training and %d validation pictures", len(pictures.labels), len(held_out.labels)
    )
    model = _initial(config, pictures.names, source, training.seed).to(best_device())
    folder = TrainingFolder(
        job.out / "training", training_digest(model, training, pictures), job.save_every_s
    )
    with contextlib.closing(folder):
        shared = None
        if job.workers > 1:
            shared = _for_workers(job, model, training, pictures, held_out, folder)
        trainer = Trainer(model, pictures.pixels, pictures.labels, training)
        if job.overwrite:
            folder.forget()
        elif folder.resume(trainer):
            logger.info("going on after step %d of %d", trainer.step, trainer.num_steps)
        if recipe.validation_data is None and job.validation_data is None:
            folder.write_validation(held_out)
        if shared is None:
            train_to_end(trainer, held_out, folder)
        else:
            train_on_workers(shared, job.workers, trainer, folder)
        folder.write_curve(trainer.results)
    trained = trainer.trained()
    name = f"{len(held_out.labels)} validation pictures"
    trained.calibration = calibrate_by_sweep(trained, held_out, recipe.drop, name)
    save_model(trained, job.out, getattr(torch, recipe.weights))
    _keep_exits(job.out, held_out)
    return _result(job, trained, trainer, loaded - started)


def _configuration(job: TrainJob, recipe: RecipeFile, source: Cascade | None) -> CascadeConfig:
    if source is None:
        return recipe.configuration(job.static, job.feature_reuse, job.relation_reuse)
    for name in ("static", "feature_reuse", "relation_reuse"):
        if getattr(job, name) is not None:
            raise UsageError(f"{name.replace('_', '-')}: cannot be changed with --from")
    return source.config


def _load(
    job: TrainJob, recipe: RecipeFile, config: CascadeConfig
) -> tuple[LabelledPictures, LabelledPictures]:
    """Training and validation pictures."""
    data = job.data or recipe.data
    if data is None:
        raise UsageError("data: must be given, by --data or in the recipe")
    # Who brings other training data does not mean the recipe's own validation data.
    validation = job.validation_data or (recipe.validation_data if job.data is None else None)
    pictures = load_labelled(data, decode_settings(config))
    if unreadable := pictures.num_unreadable:
        logger.warning("left out %d training pictures that cannot be read", unreadable)
    if validation is not None:
        held_out = load_labelled(validation, decode_settings(config), pictures.names)
        if unreadable := held_out.num_unreadable:
            logger.warning("left out %d validation pictures that cannot be read", unreadable)
        return pictures, held_out
    num_held_out = recipe.validation_images
    if num_held_out is None:
        num_held_out = max(1, len(pictures.labels) // 10)
        logger.info("no validation data: holding out every tenth picture")
    return pictures.split(num_held_out)


def _initial(
    config: CascadeConfig, names: tuple[str, ...], source: Cascade | None, seed: int
) -> Cascade:
    """A model for the classes of the data: random, or `source` with random heads."""
    torch.manual_seed(seed)
    model = Cascade(config.with_changes(num_classes=len(names)), labels=names)
    if source is not None:
        weights = {key: value for key, value in source.state_dict().items() if ".head." not in key}
        model.load_state_dict(model.state_dict() | weights)
    return model


def _for_workers(
    job: TrainJob,
    model: Cascade,
    recipe: TrainingRecipe,
    pictures: LabelledPictures,
    held_out: LabelledPictures,
    folder: TrainingFolder,
) -> WorkersTraining:
    """What the workers need, of a model that is not prepared for training yet.

    Raises:
        UsageError: there are more workers than pictures in a batch.
    """
    num_pictures = min(recipe.batch_size, len(pictures.labels))
    if job.workers > num_pictures:
        raise UsageError(
            f"workers: must be at most the {num_pictures} pictures of a batch (got {job.workers})"
        )
    return WorkersTraining(
        model=copy.deepcopy(model).cpu(),
        recipe=recipe,
        pictures=pictures,
        held_out=held_out,
        root=folder.root.resolve(),  # a worker has a working directory of its own
        digest=folder.digest,
        save_every_s=job.save_every_s,
        num_threads=job.threads or max(1, (os.cpu_count() or 1) // job.workers),
    )


def _keep_exits(out: Path, held_out: LabelledPictures) -> None:
    """Keeps what the exits say of the validation pictures, for `dvt tag --budget` and the like."""
    model = load_model(out)
    if model.config.num_stages == 1:
        (out / HELD_OUT).unlink(missing_ok=True)
        return
    deterministic_matmul()  # as `dvt tag` computes
    name = "the validation pictures of its training"
    ExitRecorder(model).record_pictures(held_out, name).save(out / HELD_OUT)


def _result(job: TrainJob, model: Cascade, trainer: Trainer, load_seconds: float) -> JobResult:
    accuracies = model.calibration.accuracy_per_exit
    train_seconds = sum(result.seconds for result in trainer.results)
    data: dict[str, Any] = {
        "out": str(job.out),
        "validation_accuracy_per_exit": accuracies,
        "thresholds": model.calibration.thresholds,
        "gmacs_per_exit": gmacs_per_exit(model.config),
        "load_seconds": round(load_seconds, 1),
        "train_seconds": round(train_seconds, 1),
        "threads": torch.get_num_threads(),
    }
    lines = (
        f"trained for {train_seconds:.0f} s",
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
    executor = make_executor(model)
    confidences_En, correct_En = evaluate_pictures(executor, pictures.pixels, pictures.labels)
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


command = job_command("train", TrainJob, run_train)
