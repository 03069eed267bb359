"""`dvt train`: trains a cascade on labelled images and writes a checkpoint folder."""

import contextlib
import copy
import logging
import os
import time
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field

from dvt.cascade import Cascade, cascade_spec
from dvt.config import CascadeConfig
from dvt.device import best_device
from dvt.loading import load_cascade, save_model
from dvt.training import Trainer, TrainingRecipe
from dvt.training.distillation import DistillationRecipe
from jobs.datasets import LabelledPictures, load_labelled
from jobs.options import Job, JobResult, job_command
from jobs.training.adapters import train_adapters
from jobs.training.folder import TrainingFolder, training_digest
from jobs.training.loop import train_to_end
from jobs.training.recipe import RecipeFile, read_recipe
from jobs.training.thresholds import calibrate_by_sweep, record_validation_exits
from jobs.training.workers import WorkerInput, check_ray_train, train_on_workers
from pipeline.errors import UsageError
from pipeline.runtime.resource_plan import decode_settings

__all__ = ["TrainJob", "command", "run_train"]

logger = logging.getLogger(__name__)


class TrainJob(Job):
    """Trains a cascade; the same command continues an interrupted training.

    --recipe is a YAML file with `preset` or `model`, `data`, `validation_data` or
    `validation_images`, and `training` (see jobs/recipes/). Validation images determine the
    learning curve and the thresholds; they are never trained on. With `distillation` (recipe
    `photos`) it trains adapters for members of a cascade, on any pictures, without labels.
    """

    recipe: Annotated[str, Field(description="YAML file, or name of a shipped recipe")]
    out: Annotated[Path, Field(description="checkpoint folder to write")]
    data: Annotated[str | None, Field(description="labelled images; overrides the recipe")] = None
    validation_data: Annotated[
        str | None, Field(description="validation images; overrides the recipe")
    ] = None
    from_: Annotated[
        str | None, Field(description="fine-tune this checkpoint, with the data's classes")
    ] = None
    static: Annotated[
        int | None, Field(description="train the static model of this stage, from 1")
    ] = None
    feature_reuse: Annotated[bool | None, Field(description="true or false, for ablations")] = None
    relation_reuse: Annotated[bool | None, Field(description="true or false, for ablations")] = None
    epochs: Annotated[int | None, Field(ge=1, description="overrides the recipe")] = None
    threads: Annotated[int | None, Field(ge=1, description="CPU threads per process")] = None
    workers: Annotated[
        int, Field(ge=1, description="processes that share every batch, on one GPU each if any")
    ] = 1
    save_every_s: Annotated[float, Field(gt=0, description="seconds between saved states")] = 300.0
    overwrite: Annotated[bool, Field(description="discard a training in OUT")] = False


def run_train(job: TrainJob) -> JobResult:
    """Trains, chooses thresholds on the validation images, and writes the checkpoint.

    Raises:
        UsageError: the recipe or its data cannot be used, OUT holds another training, or there are
            too many workers.
        PipelineError: workers failed repeatedly.
        KeyboardInterrupt: interrupted; the state is saved.
    """
    recipe = read_recipe(job.recipe).with_epochs(job.epochs)
    if recipe.distillation is not None:
        return _run_distillation(job, recipe, recipe.distillation)
    if job.workers > 1:
        check_ray_train()
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    started = time.perf_counter()
    source = None if job.from_ is None else load_cascade(job.from_)
    training = recipe.training
    if source is not None:
        # Normalisation is folded into the stems; adding it again would undo their training.
        training = training.model_copy(update={"batch_norm": False})
    config = _configuration(job, recipe, source)
    images, validation = _load(job, recipe, config)
    load_seconds = time.perf_counter() - started
    logger.info("%d training and %d validation images", len(images.labels), len(validation.labels))
    model = _initial_model(config, images.names, source, training.seed).to(best_device())
    digest = training_digest((config, training), model.state_dict().values(), images)
    folder = TrainingFolder(job.out / "training", digest, job.save_every_s)
    with contextlib.closing(folder.curve):
        worker_input = None
        if job.workers > 1:
            worker_input = _worker_input(job, model, training, images, validation, folder)
        trainer = Trainer(model, images.pixels, images.labels, training)
        if job.overwrite:
            folder.discard_state()
        elif folder.resume(trainer):
            logger.info("resuming after step %d of %d", trainer.step, trainer.num_steps)
        if recipe.validation_data is None and job.validation_data is None:
            folder.write_validation(validation)
        if worker_input is None:
            train_to_end(trainer, validation, folder)
        else:
            train_on_workers(worker_input, job.workers, trainer, folder)
        folder.curve.write(trainer.results)
    trained = trainer.trained()
    trained.calibration = calibrate_by_sweep(trained, validation, recipe.drop)
    save_model(trained, job.out, getattr(torch, recipe.weights))
    record_validation_exits(job.out, validation)
    return _result(job, trained, trainer, load_seconds)


def _run_distillation(job: TrainJob, recipe: RecipeFile, how: DistillationRecipe) -> JobResult:
    for name in ("validation_data", "from_", "static", "feature_reuse", "relation_reuse"):
        if getattr(job, name) is not None:
            option = name.strip("_").replace("_", "-")
            raise UsageError(f"{option}: cannot be used with a recipe of distillation")
    if job.workers > 1:
        raise UsageError("workers: must be 1 with a recipe of distillation")
    data = job.data or recipe.data
    if data is None:
        raise UsageError("data: must be given, by --data or in the recipe")
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    trained = train_adapters(
        how, data, recipe.validation_images, job.out, job.save_every_s, job.overwrite
    )
    members = [str(path) for path in trained.members]
    lines = (
        f"trained for {trained.seconds:.0f} s",
        "held-out pictures with the teachers' label: "
        + " / ".join(f"{100 * share:.2f} %" for share in trained.agreement),
        f"next: dvt cascade {' '.join(members)} --data PICTURES --out DIR",
    )
    return JobResult(
        lines=lines,
        data={
            "out": str(job.out),
            "members": members,
            "held_out_agreement": trained.agreement,
            "train_seconds": round(trained.seconds, 1),
            "threads": torch.get_num_threads(),
        },
    )


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
    """Training and validation images."""
    data = job.data or recipe.data
    if data is None:
        raise UsageError("data: must be given, by --data or in the recipe")
    # With other training data, the recipe's own validation data does not apply.
    validation_data = job.validation_data or (recipe.validation_data if job.data is None else None)
    decoding = decode_settings(cascade_spec(config))
    images = load_labelled(data, decoding)
    _warn_of_unreadable("training", images)
    if validation_data is not None:
        validation = load_labelled(validation_data, decoding, images.names)
        _warn_of_unreadable("validation", validation)
        return images, validation
    num_validation = recipe.validation_images
    if num_validation is None:
        num_validation = max(1, len(images.labels) // 10)
        logger.info("no validation data given: holding out every tenth image")
    return images.split(num_validation)


def _warn_of_unreadable(part: str, images: LabelledPictures) -> None:
    if images.num_unreadable:
        logger.warning("%d %s images cannot be read and are skipped", images.num_unreadable, part)


def _initial_model(
    config: CascadeConfig, names: tuple[str, ...], source: Cascade | None, seed: int
) -> Cascade:
    """A model for the classes of the data: random, or `source` with random heads."""
    torch.manual_seed(seed)
    model = Cascade(config.with_changes(num_classes=len(names)), labels=names)
    if source is not None:
        weights = {key: value for key, value in source.state_dict().items() if ".head." not in key}
        model.load_state_dict(model.state_dict() | weights)
    return model


def _worker_input(
    job: TrainJob,
    model: Cascade,
    recipe: TrainingRecipe,
    images: LabelledPictures,
    validation: LabelledPictures,
    folder: TrainingFolder,
) -> WorkerInput:
    """Input of the workers, with a copy of the model before a `Trainer` changes it.

    Raises:
        UsageError: more workers than images in a batch.
    """
    num_images = min(recipe.batch_size, len(images.labels))
    if job.workers > num_images:
        raise UsageError(
            f"workers: must be at most the {num_images} images of a batch (got {job.workers})"
        )
    return WorkerInput(
        model=copy.deepcopy(model).cpu(),
        recipe=recipe,
        images=images,
        validation=validation,
        root=folder.root.resolve(),  # workers have their own working directory
        digest=folder.digest,
        save_every_s=job.save_every_s,
        num_threads=job.threads or max(1, (os.cpu_count() or 1) // job.workers),
    )


def _result(job: TrainJob, model: Cascade, trainer: Trainer, load_seconds: float) -> JobResult:
    accuracies = model.calibration.accuracy_per_exit
    train_seconds = sum(result.seconds for result in trainer.results)
    data: dict[str, Any] = {
        "out": str(job.out),
        "validation_accuracy_per_exit": accuracies,
        "thresholds": model.calibration.thresholds,
        "gmacs_per_exit": model.spec.gmacs_per_exit,
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


command = job_command("train", TrainJob, run_train)
