"""No engine: the staged queue in a plain loop, and single stages on full batches."""

import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders.workload import Measured, Workload
from dvt.inference import StageExecutor
from dvt.reuse import StageState
from pipeline.cascade.batches import Predictions
from pipeline.cascade.runner import CascadeRunner

__all__ = ["measured", "run_bare", "stage_seconds"]


def run_bare(work: Workload, executor: StageExecutor) -> Measured:
    """Runs the batches of the engine's actor in this process."""
    runner = CascadeRunner(executor, work.thresholds, work.batch_size, top_k=1)
    predictions: list[Predictions] = []
    started = time.perf_counter()
    for start in range(0, work.num_images, work.batch_size):
        stop = start + work.batch_size
        runner.add(np.arange(start, stop), work.rows(start, stop))
        predictions += runner.run_full()[0]
    predictions += runner.flush()[0]
    return measured(
        time.perf_counter() - started,
        np.concatenate([each.row_ids for each in predictions]),
        np.concatenate([each.top_label_ids[:, 0] for each in predictions]),
        np.concatenate([np.full(len(each.row_ids), each.exit_stage) for each in predictions]),
    )


def measured(
    seconds: float,
    images: NDArray[np.int64],
    label_ids: NDArray[np.int64],
    exit_stages: NDArray[np.int64],
) -> Measured:
    """Sorts results by image; each image must be there once."""
    order = np.argsort(images)
    assert (images[order] == np.arange(len(images))).all(), "an image is missing or came twice"
    return Measured(seconds, label_ids[order], exit_stages[order])


def stage_seconds(work: Workload, executor: StageExecutor) -> list[float]:
    """Seconds of one full batch in each stage."""
    pixels = executor.upload(work.rows(0, work.batch_size))()
    state: StageState | None = None
    seconds = []
    for stage in range(executor.spec.num_stages):
        started = time.perf_counter()
        state = executor.run(stage, pixels, state, work.batch_size).state
        seconds.append(time.perf_counter() - started)
    return seconds
