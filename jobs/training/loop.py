"""Runs a trainer to the end: validation after every epoch, log lines and saved states.

One process, or each of several data-parallel processes. Shapes: E exits, n images.
"""

import logging
import time
from collections.abc import Callable

import torch

from dvt.cascade import Cascade
from dvt.training import DataParallel, EpochResult, Trainer
from jobs.datasets import LabelledPictures
from jobs.evaluation.recorder import evaluate_images
from jobs.training.folder import Resumable, TrainingFolder
from pipeline.runtime.signals import deferred_interrupt

__all__ = ["run_to_end", "train_to_end"]

logger = logging.getLogger(__name__)

_LOG_EVERY_S = 30


def train_to_end(
    trainer: Trainer,
    validation: LabelledPictures,
    folder: TrainingFolder,
    parallel: DataParallel | None = None,
) -> None:
    """Trains from the trainer's current step; the first process saves and logs.

    Args:
        trainer: of this process.
        validation: all validation images; each process evaluates its share.
        folder: for states and the curve.
        parallel: this process among several; None for a single process.

    Raises:
        KeyboardInterrupt: interrupted; the state is saved.
    """

    def evaluate(model: Cascade) -> tuple[float, ...]:
        return _accuracies(model, validation, parallel)

    def run(on_epoch: Callable[[EpochResult], None], on_step: Callable[[], None]) -> None:
        trainer.run(evaluate, on_epoch, on_step)

    run_to_end(trainer, run, folder, is_first=parallel is None or parallel.rank == 0)


def run_to_end(
    trainer: Resumable,
    run: Callable[[Callable[[EpochResult], None], Callable[[], None]], None],
    folder: TrainingFolder,
    is_first: bool = True,
) -> None:
    """Runs a trainer; logs each epoch, saves states, and stops at an interrupt.

    Args:
        trainer: of this process.
        run: calls the first function after every epoch and the second after every step.
        folder: for states and the curve.
        is_first: whether this process is the one that saves and logs.

    Raises:
        KeyboardInterrupt: interrupted; the state is saved.
    """
    num_epochs = trainer.num_steps // trainer.steps_per_epoch

    def log(result: EpochResult) -> None:
        if not is_first:
            return
        logger.info(
            "epoch %d of %d: loss %.3f, validation %s %%, %.0f s",
            result.epoch,
            num_epochs,
            result.loss,
            " / ".join(f"{100 * accuracy:.2f}" for accuracy in result.accuracy_per_exit),
            result.seconds,
        )

    next_line = time.monotonic() + _LOG_EVERY_S
    with deferred_interrupt() as interrupted:

        def save() -> None:
            nonlocal next_line
            if not is_first:
                return
            folder.save_if_due(trainer)
            if interrupted():
                folder.save(trainer)
                raise KeyboardInterrupt
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + _LOG_EVERY_S
                logger.info("step %d of %d", trainer.step, trainer.num_steps)

        run(log, save)


def _accuracies(
    model: Cascade, validation: LabelledPictures, parallel: DataParallel | None
) -> tuple[float, ...]:
    """Top-1 of every exit, as fractions."""
    num_images = len(validation.labels)
    if parallel is not None and num_images < parallel.num_workers:
        parallel = None  # too few to share: every process evaluates all of them
    local = slice(None) if parallel is None else parallel.local_slice(num_images)
    executor = model.make_executor()
    _, correct_En = evaluate_images(executor, validation.pixels[local], validation.labels[local])
    counts_E = torch.from_numpy(correct_En.sum(axis=1))
    if parallel is not None:
        counts_E = parallel.all_reduce(counts_E.to(executor.device)).cpu()
    return tuple(int(count) / num_images for count in counts_E)
