"""No engine at all: the staged queue in a plain loop, and single stages on full batches."""

import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.ways.workload import Answered, Workload
from dvt.inference import StageExecutor
from dvt.reuse import StageState
from pipeline.cascade.batches import Predictions
from pipeline.cascade.runner import CascadeRunner

__all__ = ["answered", "run_bare", "stage_seconds"]


def run_bare(work: Workload, executor: StageExecutor) -> Answered:
    """The batches that the engine's actor computes, in this process."""
    runner = CascadeRunner(executor, work.thresholds, work.batch_size, top_k=1)
    answers: list[Predictions] = []
    started = time.perf_counter()
    for start in range(0, work.num_images, work.batch_size):
        stop = start + work.batch_size
        runner.add(np.arange(start, stop), work.rows(start, stop))
        answers += runner.run_full()[0]
    answers += runner.flush()[0]
    return answered(
        time.perf_counter() - started,
        np.concatenate([answer.row_ids for answer in answers]),
        np.concatenate([answer.top_label_ids[:, 0] for answer in answers]),
        np.concatenate([np.full(len(answer.row_ids), answer.exit_stage) for answer in answers]),
    )


def answered(
    seconds: float,
    images: NDArray[np.int64],
    label_ids: NDArray[np.int64],
    exit_stages: NDArray[np.int64],
) -> Answered:
    """Answers in the order of the images; each must be there once."""
    order = np.argsort(images)
    assert (images[order] == np.arange(len(images))).all(), "an image is missing or came twice"
    return Answered(seconds, label_ids[order], exit_stages[order])


def stage_seconds(work: Workload, executor: StageExecutor) -> list[float]:
    """Seconds of a full batch in each stage, once."""
    pixels = executor.upload(work.rows(0, work.batch_size))()
    state: StageState | None = None
    seconds = []
    for stage in range(executor.config.num_stages):
        started = time.perf_counter()
        state = executor.run(stage, pixels, state, work.batch_size).state
        seconds.append(time.perf_counter() - started)
    return seconds
