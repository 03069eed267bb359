"""`dvt train --workers`: one training in several processes, by Ray Train.

Pictures go through the object store, once a node. Each worker computes its share of every batch
(`dvt.training.parallel`), on a GPU where the cluster has them. The first one keeps the states; a
worker that dies takes its group along, and a new group goes on from the last state, as a new
command would. Knows nothing of recipes and data sets.
"""

import importlib.util
import logging
import shutil
import signal
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dvt.cascade import Cascade
from dvt.training import DataParallel, Trainer, TrainingRecipe
from jobs.datasets import LabelledPictures
from jobs.training.folder import TrainingFolder
from jobs.training.loop import train_to_end
from pipeline.errors import PipelineError, UsageError
from pipeline.runtime.ray_session import running_ray

__all__ = ["WorkersTraining", "check_ray_train", "train_on_workers"]

logger = logging.getLogger(__name__)

_NEEDED = ("fsspec", "pandas", "requests", "tensorboardX")
_FAILURES_IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class WorkersTraining:
    """All that a worker needs.

    Attributes:
        model: initialised, on the processor, as `Trainer` takes it.
        recipe: hyperparameters.
        pictures: to train on.
        held_out: to judge by.
        root: OUT/training, where all nodes see it.
        digest: of the training.
        save_every_s: seconds between two saved states.
        num_threads: of the processor, a worker.
    """

    model: Cascade
    recipe: TrainingRecipe
    pictures: LabelledPictures
    held_out: LabelledPictures
    root: Path
    digest: str
    save_every_s: float
    num_threads: int


def check_ray_train() -> None:
    """Raises UsageError where Ray Train is not installed; imports nothing."""
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise UsageError("workers: needs Ray Train: pip install 'dvt-pipeline[train]'")


def train_on_workers(
    training: WorkersTraining, num_workers: int, trainer: Trainer, folder: TrainingFolder
) -> None:
    """Trains to the end, over any number of lost workers as long as new states are reached.

    Args:
        training: goes to the workers.
        num_workers: processes.
        trainer: of this process, at the last state; taken to the end.
        folder: reads what the workers kept.

    Raises:
        UsageError: the cluster cannot hold so many workers.
        PipelineError: workers failed again and again without reaching a new state.
        KeyboardInterrupt: interrupted; the last state stays.
    """
    if trainer.is_finished:
        return
    with running_ray(num_cpus=num_workers):
        import ray

        use_gpu = _uses_gpus(ray.cluster_resources(), num_workers)
        reference = ray.put(training)
        while not trainer.is_finished:
            step = trainer.step
            problem = _attempt(reference, num_workers, use_gpu, training.root)
            folder.resume(trainer)
            if problem is not None and trainer.step == step:
                raise PipelineError(
                    f"workers: failed {_FAILURES_IN_A_ROW + 1} times after step {step}: {problem}"
                )
            if problem is None and not trainer.is_finished:
                raise KeyboardInterrupt
    shutil.rmtree(training.root / "ray", ignore_errors=True)


def _uses_gpus(resources: dict[str, float], num_workers: int) -> bool:
    kind = "GPU" if resources.get("GPU") else "CPU"
    there = int(resources.get(kind, 0))
    if num_workers > there:
        raise UsageError(
            f"workers: must be at most the {there} {kind}s of the cluster (got {num_workers})"
        )
    return kind == "GPU"


def _attempt(reference: Any, num_workers: int, use_gpu: bool, root: Path) -> str | None:
    """One run of Ray Train; what stopped it, None if nothing did or a person."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    class QuietTrainer(TorchTrainer):
        """Without an actor that asks the dashboard once a second, and logs that there is none.

        It frees the workers' places should the controller die; here they end with the driver.
        """

        def _create_default_callbacks(self) -> list[Any]:
            callbacks = super()._create_default_callbacks()  # type: ignore[misc] # of Ray 2.43 on
            return [
                callback
                for callback in callbacks
                if type(callback).__name__ != "PlacementGroupCleanerCallback"
            ]

    run = QuietTrainer(
        _work,
        train_loop_config={"training": reference},
        scaling_config=ScalingConfig(num_workers=num_workers, use_gpu=use_gpu),
        run_config=RunConfig(
            name="run",
            storage_path=str(root / "ray"),
            failure_config=FailureConfig(max_failures=_FAILURES_IN_A_ROW),
        ),
    )
    handler = signal.getsignal(signal.SIGINT)
    try:
        run.fit()
    except TrainingFailedError as error:
        failures = getattr(error, "worker_failures", {})
        return next((_last_line(failure) for failure in failures.values()), _last_line(error))
    except SystemExit:  # Ray's way to take an interrupt
        return None
    finally:
        signal.signal(signal.SIGINT, handler)
    return None


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def _work(config: dict[str, Any]) -> None:
    """What a worker does."""
    import ray
    from ray.train.torch import get_device

    for harmless in (
        "The given NumPy array is not writable",  # comes from the object store; nobody writes
        "Grad strides do not match bucket view strides",  # of convolutions of one pixel
        "find_unused_parameters=True was specified",  # a static model has none
    ):
        warnings.filterwarnings("ignore", message=harmless)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    training: WorkersTraining = ray.get(config["training"])
    torch.set_num_threads(training.num_threads)
    parallel = DataParallel.of_process_group()
    trainer = Trainer(
        training.model.to(get_device()),
        training.pictures.pixels,
        training.pictures.labels,
        training.recipe,
        parallel,
    )
    folder = TrainingFolder(training.root, training.digest, training.save_every_s)
    if folder.resume(trainer) and parallel.rank == 0:
        logger.info("workers go on after step %d of %d", trainer.step, trainer.num_steps)
    _check_same_step(trainer, parallel)
    train_to_end(trainer, training.held_out, folder, parallel)
    folder.close()


def _check_same_step(trainer: Trainer, parallel: DataParallel) -> None:
    """Raises PipelineError where workers read different states, and would train nonsense."""
    from ray.train.torch import get_device

    total = parallel.total(torch.tensor([trainer.step], device=get_device()))
    if int(total) != trainer.step * parallel.num_workers:
        raise PipelineError("out: must lie where all nodes of the cluster see the same files")
