"""Runs a trainer to its end with validation after every epoch, log lines, and kept states.

The same for a training in one process and for each process of several.
"""

import logging
import time

import torch

from dvt.cascade import Cascade
from dvt.inference import make_executor
from dvt.training import DataParallel, EpochResult, Trainer
from jobs.datasets import LabelledPictures
from jobs.evaluation.recorder import evaluate_pictures
from jobs.training.folder import TrainingFolder
from pipeline.runtime.signals import deferred_interrupt

__all__ = ["train_to_end"]

logger = logging.getLogger(__name__)


def train_to_end(
    trainer: Trainer,
    held_out: LabelledPictures,
    folder: TrainingFolder,
    parallel: DataParallel | None = None,
) -> None:
    """Trains from wherever the trainer stands; the first process writes and logs.

    Args:
        trainer: of this process.
        held_out: validation pictures, all of them in every process, which judges its share.
        folder: keeps states and the curve.
        parallel: this process among several; None if it is alone.

    Raises:
        KeyboardInterrupt: interrupted; the state is kept.
    """
    is_first = parallel is None or parallel.rank == 0
    num_epochs = trainer.num_steps // trainer.steps_per_epoch

    def judge(model: Cascade) -> tuple[float, ...]:
        return _accuracies(model, held_out, parallel)

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

    next_line = time.monotonic() + 30
    with deferred_interrupt() as interrupted:

        def keep() -> None:
            nonlocal next_line
            if not is_first:
                return
            folder.save_if_due(trainer)
            if interrupted():
                folder.save(trainer)
                raise KeyboardInterrupt
            if time.monotonic() >= next_line:
                next_line = time.monotonic() + 30
                logger.info("step %d of %d", trainer.step, trainer.num_steps)

        trainer.run(judge, log, keep)


def _accuracies(
    model: Cascade, held_out: LabelledPictures, parallel: DataParallel | None
) -> tuple[float, ...]:
    """Of every exit, as fractions."""
    num_pictures = len(held_out.labels)
    if parallel is not None and num_pictures < parallel.num_workers:
        parallel = None  # so few that every process judges all
    own = slice(None) if parallel is None else parallel.share(num_pictures)
    _, correct_En = evaluate_pictures(
        make_executor(model), held_out.pixels[own], held_out.labels[own]
    )
    counts_E = torch.from_numpy(correct_En.sum(axis=1))
    if parallel is not None:
        counts_E = parallel.total(counts_E.to(next(model.parameters()).device)).cpu()
    return tuple(int(count) / num_pictures for count in counts_E)
