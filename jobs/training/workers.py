"""`dvt train --workers`: one training in several processes, by Ray Train.

Images go through the object store, once per node. Each worker computes its share of every batch
(`dvt.training.parallel`), on a GPU if the cluster has GPUs. The first worker saves the states. When
a worker dies, its whole group restarts from the last state, as a new command would.
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

__all__ = ["WorkerInput", "check_ray_train", "train_on_workers"]

logger = logging.getLogger(__name__)

# Packages of the extra `train`.
_REQUIRED = ("fsspec", "pandas", "requests", "tensorboardX")
_MAX_FAILURES = 3  # in a row, without a new state


@dataclass(frozen=True, slots=True)
class WorkerInput:
    """Input of every worker.

    Attributes:
        model: initialised, on the CPU, before a `Trainer` has changed it.
        recipe: hyperparameters.
        images: training images.
        validation: validation images.
        root: OUT/training, on storage that all nodes share.
        digest: of the training.
        save_every_s: seconds between saved states.
        num_threads: CPU threads per worker.
    """

    model: Cascade
    recipe: TrainingRecipe
    images: LabelledPictures
    validation: LabelledPictures
    root: Path
    digest: str
    save_every_s: float
    num_threads: int


def check_ray_train() -> None:
    """Raises UsageError if Ray Train is not installed; imports nothing."""
    if any(importlib.util.find_spec(name) is None for name in _REQUIRED):
        raise UsageError("workers: needs Ray Train: pip install 'dvt-pipeline[train]'")


def train_on_workers(
    worker_input: WorkerInput, num_workers: int, trainer: Trainer, folder: TrainingFolder
) -> None:
    """Trains to the end; tolerates any number of lost workers while new states are saved.

    Args:
        worker_input: sent to the workers.
        num_workers: processes.
        trainer: of this process, at the last saved state; updated to the final state.
        folder: holds the workers' states.

    Raises:
        UsageError: the cluster has too few GPUs or CPUs.
        PipelineError: workers failed repeatedly without a new state.
        KeyboardInterrupt: interrupted; the last state is saved.
    """
    if trainer.is_finished:
        return
    with running_ray(num_cpus=num_workers):
        import ray

        use_gpu = _use_gpus(ray.cluster_resources(), num_workers)
        reference = ray.put(worker_input)
        while not trainer.is_finished:
            step = trainer.step
            problem = _run_group(reference, num_workers, use_gpu, worker_input.root)
            folder.resume(trainer)
            if problem is not None and trainer.step == step:
                raise PipelineError(
                    f"workers: failed {_MAX_FAILURES + 1} times after step {step}: {problem}"
                )
            if problem is None and not trainer.is_finished:
                raise KeyboardInterrupt
    shutil.rmtree(worker_input.root / "ray", ignore_errors=True)


def _use_gpus(resources: dict[str, float], num_workers: int) -> bool:
    kind = "GPU" if resources.get("GPU") else "CPU"
    available = int(resources.get(kind, 0))
    if num_workers > available:
        raise UsageError(
            f"workers: must be at most the {available} {kind}s of the cluster (got {num_workers})"
        )
    return kind == "GPU"


def _run_group(reference: Any, num_workers: int, use_gpu: bool, root: Path) -> str | None:
    """Runs Ray Train once; returns the failure, or None if it finished or was interrupted."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    class QuietTrainer(TorchTrainer):
        """Without the actor that polls the dashboard every second and logs its absence.

        That actor frees placement groups if the controller dies; here they end with the driver.
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
        train_loop_config={"worker_input": reference},
        scaling_config=ScalingConfig(num_workers=num_workers, use_gpu=use_gpu),
        run_config=RunConfig(
            name="run",
            storage_path=str(root / "ray"),
            failure_config=FailureConfig(max_failures=_MAX_FAILURES),
        ),
    )
    handler = signal.getsignal(signal.SIGINT)
    try:
        run.fit()
    except TrainingFailedError as error:
        failures = getattr(error, "worker_failures", {})
        return next((_last_line(failure) for failure in failures.values()), _last_line(error))
    except SystemExit:  # how Ray Train reports an interrupt
        return None
    finally:
        signal.signal(signal.SIGINT, handler)
    return None


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def _work(config: dict[str, Any]) -> None:
    """The training function of a worker."""
    import ray
    from ray.train.torch import get_device

    for harmless in (
        "The given NumPy array is not writable",  # from the object store; never written
        "Grad strides do not match bucket view strides",  # 1x1 convolutions
        "find_unused_parameters=True was specified",  # static models have none
    ):
        warnings.filterwarnings("ignore", message=harmless)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    worker_input: WorkerInput = ray.get(config["worker_input"])
    torch.set_num_threads(worker_input.num_threads)
    parallel = DataParallel.from_process_group()
    trainer = Trainer(
        worker_input.model.to(get_device()),
        worker_input.images.pixels,
        worker_input.images.labels,
        worker_input.recipe,
        parallel,
    )
    folder = TrainingFolder(worker_input.root, worker_input.digest, worker_input.save_every_s)
    if folder.resume(trainer) and parallel.rank == 0:
        logger.info("workers resume after step %d of %d", trainer.step, trainer.num_steps)
    _check_same_step(trainer, parallel)
    train_to_end(trainer, worker_input.validation, folder, parallel)
    folder.curve.close()


def _check_same_step(trainer: Trainer, parallel: DataParallel) -> None:
    """Raises PipelineError if the workers resumed from different states."""
    from ray.train.torch import get_device

    total = parallel.all_reduce(torch.tensor([trainer.step], device=get_device()))
    if int(total) != trainer.step * parallel.num_workers:
        raise PipelineError("out: must be on storage that all nodes of the cluster share")
