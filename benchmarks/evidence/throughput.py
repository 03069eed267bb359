"""`throughput`: images a second of a cascade and of a static model that is as accurate.

Both run as in an actor of `dvt tag`: a `CascadeRunner` on full batches of uint8 pixels, with the
staged queue between the exits; images are decoded before. They take turns, round by round, so
that other load on the machine affects both alike. The thresholds are those of the kept savings:
they reach the static model's accuracy on held-out images.
"""

import os
import statistics
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import dvt
from benchmarks.evidence.models import CASCADES, STATICS
from benchmarks.evidence.recording import RecordedModel, record_model
from benchmarks.evidence.results import publish, read_results
from dvt.calibration import Thresholds, mean_gmacs
from dvt.device import best_device, inference_dtype
from dvt.exits import ALWAYS_EXIT
from dvt.inference.profiling import time_in_turns
from pipeline.cascade.runner import CascadeRunner
from pipeline.errors import UsageError

__all__ = ["summary", "throughput"]


def throughput(given: Namespace) -> None:
    """Times the short cascade against the finest static model that it is as accurate as.

    Raises:
        UsageError: `measure` has kept no such savings, or the models have changed since.
    """
    load_average = os.getloadavg()[0]  # before this adds its own
    results = read_results(given.results, "savings")
    reached = [pair for pair in results["savings"] if pair["held_out"]["saving"] is not None]
    if not reached:
        raise UsageError("results: the cascade is as accurate as no static model")
    pair = max(reached, key=lambda pair: int(pair["stage"]))
    names = (CASCADES["short"], STATICS[pair["stage"]])
    cascade, static = (record_model(name, given.models / name, given.data) for name in names)
    for one in (cascade, static):
        if one.test_exits.model_digest != results["models"][one.name]:
            raise UsageError(f"models: {one.name} has changed; run `measure` again")
    timed = _timed(given, cascade, static, tuple(pair["held_out"]["thresholds"]))
    figures = {
        "rounds": given.rounds,
        "load_average": load_average,
        "pairs": [{"stage": pair["stage"], **timed}],
    }
    publish("throughput", figures, (cascade, static), given)


def _timed(
    given: Namespace, cascade: RecordedModel, static: RecordedModel, thresholds: Thresholds
) -> dict[str, Any]:
    device = best_device()
    num_images = min(given.num_images, len(cascade.test.labels))
    rows = np.sort(np.random.default_rng(0).permutation(len(cascade.test.labels))[:num_images])
    pixels = np.ascontiguousarray(cascade.test.pixels[rows])
    runs = []
    for dtype in dict.fromkeys((inference_dtype(device), torch.float32)):
        for batch_size in given.batch_sizes:
            works = {
                name: _work(given, one, row, dtype, batch_size, pixels)
                for name, one, row in (("cascade", cascade, thresholds), ("static", static, ()))
            }
            seconds = time_in_turns(works, given.rounds, device)
            run = summary(seconds["cascade"], seconds["static"], num_images)
            precision = str(dtype).removeprefix("torch.")
            runs.append({"dtype": precision, "batch_size": batch_size, **run})
            print(runs[-1], file=sys.stderr)
    confidences = cascade.test_exits.confidences[:, rows]
    gmacs = mean_gmacs(confidences, thresholds, cascade.gmacs_per_exit)
    return {
        "thresholds": thresholds,
        "num_images": num_images,
        "gmacs": gmacs,
        "static_gmacs": static.gmacs_per_exit[-1],
        "gmacs_ratio": static.gmacs_per_exit[-1] / gmacs,
        "runs": runs,
    }


def _work(
    given: Namespace,
    one: RecordedModel,
    thresholds: Sequence[float],
    dtype: torch.dtype,
    batch_size: int,
    pixels: NDArray[np.uint8],
) -> Callable[[], None]:
    """One round of a model on all images."""
    model = dvt.load_model(given.models / one.name)  # the executor casts its weights
    executor = model.make_executor(best_device(), dtype)
    runner = CascadeRunner(executor, (*thresholds, ALWAYS_EXIT), batch_size, top_k=5)
    return partial(_run, runner, pixels)


def _run(runner: CascadeRunner, pixels: NDArray[np.uint8]) -> None:
    runner.add(np.arange(len(pixels)), pixels)
    parts = [*runner.run_full()[0], *runner.flush()[0]]
    assert sum(len(part.row_ids) for part in parts) == len(pixels)


def summary(
    cascade_s: Sequence[float], static_s: Sequence[float], num_images: int
) -> dict[str, Any]:
    """Medians of both, and of the ratio of neighbouring rounds, with its smallest and largest."""
    ratios = [static / own for own, static in zip(cascade_s, static_s, strict=True)]
    return {
        "images_per_second": num_images / statistics.median(cascade_s),
        "static_images_per_second": num_images / statistics.median(static_s),
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "cascade_seconds": list(cascade_s),
        "static_seconds": list(static_s),
    }
