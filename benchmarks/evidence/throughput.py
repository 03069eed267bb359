"""`throughput`: what a cascade saves on the clock beside what it saves on paper.

Both models run as in an actor of `dvt tag`: a `CascadeRunner` in full batches of uint8 pixels, with
the staged queue between the exits; pictures are decoded before. They take turns, a round of one
after a round of the other, so that what else the machine does falls on both alike. The thresholds
are those that reach the static model's accuracy on held-out pictures.
"""

import os
import statistics
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import dvt
from benchmarks.evidence.models import SCHEDULES
from benchmarks.evidence.picture_sets import PictureSets
from benchmarks.evidence.records import ModelFacts, Record
from benchmarks.evidence.results import publish, read_record
from benchmarks.evidence.savings import chosen_thresholds
from dvt.calibration import exits_taken
from dvt.device import best_device, inference_dtype
from dvt.exits import TAKES_ALL
from dvt.inference import make_executor
from dvt.inference.profiling import time_in_turns
from dvt.loading.checkpoint import model_digest
from pipeline.cascade.runner import CascadeRunner
from pipeline.errors import UsageError

__all__ = ["summary", "throughput"]


def throughput(given: Namespace) -> None:
    """Times every cascade against the static models that --static names, where they are there."""
    load_average = os.getloadavg()[0]  # of others, before this adds its own
    pairs, facts = [], []
    for schedule in SCHEDULES:
        for stage in given.static:
            cascade = read_record(given, schedule.cascade)
            static = read_record(given, schedule.statics[stage])
            if cascade is None or static is None:
                continue
            thresholds = chosen_thresholds(cascade, static)
            if thresholds is None:
                print(
                    f"left out: {schedule.cascade} does not reach {static.facts.name} on held-out "
                    "pictures",
                    file=given.messages,
                )
                continue
            facts += [cascade.facts, static.facts]
            timed = _timed(given, cascade, static, thresholds)
            pairs.append({"schedule": schedule.name, "stage": stage, **timed})
    if not pairs:
        raise UsageError(
            f"records: {given.records} has no cascade with a static model that it reaches"
        )
    figures = {"rounds": given.rounds, "load_average": load_average, "pairs": pairs}
    publish("throughput", figures, facts, given)


def _timed(
    given: Namespace, cascade: Record, static: Record, thresholds: tuple[float, ...]
) -> dict[str, Any]:
    device = best_device()
    dtypes = list(dict.fromkeys((inference_dtype(device), torch.float32)))
    model = _checked(given, cascade.facts)
    loaded, _ = PictureSets().test(given, model)
    num_images = min(given.pictures, len(loaded.labels))
    rows = np.random.default_rng(0).permutation(len(loaded.labels))[:num_images]
    pixels = np.ascontiguousarray(loaded.pixels[np.sort(rows)])
    runs = []
    for dtype in dtypes:
        for batch_size in given.batch_sizes:
            works = {
                name: _work(given, facts, row, dtype, batch_size, pixels)
                for name, facts, row in (
                    ("cascade", cascade.facts, thresholds),
                    ("static", static.facts, ()),
                )
            }
            seconds = time_in_turns(works, given.rounds, device)
            run = summary(seconds["cascade"], seconds["static"], num_images)
            runs.append({"dtype": _name(dtype), "batch_size": batch_size, **run})
            print(runs[-1], file=given.messages)
    confidences = cascade.test.confidences[:, np.sort(rows)]
    costs = np.asarray(cascade.facts.gmacs_per_exit)
    gmacs = float(costs[exits_taken(confidences, thresholds)].mean())
    static_gmacs = static.facts.gmacs_per_exit[-1]
    return {
        "thresholds": thresholds,
        "num_images": num_images,
        "gmacs": gmacs,
        "static_gmacs": static_gmacs,
        "gmacs_ratio": static_gmacs / gmacs,
        "runs": runs,
    }


def _checked(given: Namespace, facts: ModelFacts) -> dvt.Cascade:
    """A model whose weights are those of its record."""
    model = dvt.load_model(given.models / facts.name)
    if model_digest(model) != facts.digest:
        raise UsageError(f"records: {facts.name} has other weights by now; run `record` again")
    return model


def _work(
    given: Namespace,
    facts: ModelFacts,
    thresholds: Sequence[float],
    dtype: torch.dtype,
    batch_size: int,
    pixels: NDArray[np.uint8],
) -> Callable[[], object]:
    """One round of a model: all pictures in, all answers out."""
    executor = make_executor(_checked(given, facts), best_device(), dtype)
    runner = CascadeRunner(executor, (*thresholds, TAKES_ALL), batch_size, top_k=5)
    return partial(_answered, runner, pixels)


def _answered(runner: CascadeRunner, pixels: NDArray[np.uint8]) -> None:
    runner.add(np.arange(len(pixels)), pixels)
    parts = [*runner.run_full()[0], *runner.flush()[0]]
    assert sum(len(part.row_ids) for part in parts) == len(pixels)


def summary(
    cascade_s: Sequence[float], static_s: Sequence[float], num_images: int
) -> dict[str, Any]:
    """Medians of both, and of the ratio of neighbours in time with its smallest and largest."""
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


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
