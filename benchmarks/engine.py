"""The engine against Ray Data jobs and against no engine, on decoded pixels, in turns.

    python -m benchmarks.engine --model dvt_t2t_vit_12 --exit-mix 0.6 0.25 0.15 --images 512 \
        --batch-size 16
    python -m benchmarks.engine --model shapes --images 8192

    chained     (a) Ray Data: three chained pools with strict batches between them
    full depth  (b) Ray Data: every image through all stages
    static      (c) Ray Data: a static model of the same width and the last grid
    predictor       Ray Data: `pipeline.CascadePredictor`
    one pool    (d) this engine
    two pools   (d) this engine, stage 1 apart
    engine, full depth
    bare        (e) the engine's runner in a plain loop, no Ray

Images per second are told without the start of actors; see `benchmarks.ways`. Full depth costs the
same for every image, so it may be measured on fewer. `predicted` is what full batches, each stage
timed alone in the same turns, need for the same exits.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import dvt
from benchmarks.reporting import report
from benchmarks.ways.in_process import run_bare, stage_seconds
from benchmarks.ways.workload import Answered, Workload, make_workload, open_executor
from dvt.device import inference_dtype
from dvt.inference import StageExecutor
from pipeline.runtime.hardware import available_cpus
from pipeline.runtime.ray_session import running_ray

_LOGICAL_CPUS = 4  # three pools and a task between them; threads are set by hand


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="shapes", help="shipped name, or preset")
    parser.add_argument("--exit-mix", type=float, nargs="+", help="shares; else own thresholds")
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--full-depth-images", type=int, help="for the ways without exits")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rows-per-call", type=int, nargs="+", help="of the predictor")
    parser.add_argument("--threads", type=int, default=available_cpus(), help="of a lone actor")
    parser.add_argument("--chained-threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip", nargs="*", default=[], help="ways whose names begin like this")
    parser.add_argument("--note", help="circumstances, kept with the results")
    parser.add_argument("--out", type=Path, help="keep the results in this file too")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    # Ray gives its workers way to all others; the bare loop must have no better place than they.
    os.environ.setdefault("RAY_worker_niceness", "0")
    dtype = str(inference_dtype(torch.device("cpu"))).removeprefix("torch.")
    mix = None if given.exit_mix is None else tuple(given.exit_mix)
    torch.set_num_threads(given.threads)
    work = make_workload(given.model, mix, given.images, given.batch_size, given.threads, dtype)
    fewer = replace(work, num_images=given.full_depth_images or work.num_images)
    executor = open_executor(work.cascade, dtype, work.num_threads, work.batch_size)
    stages: list[list[float]] = []
    busy: list[float] = []
    answers: dict[str, list[Answered]] = {}
    with running_ray(_LOGICAL_CPUS), tempfile.TemporaryDirectory() as folder:
        for turn in range(given.rounds):
            busy.append(busy_share())
            out = Path(folder) / str(turn)
            for name, way in ways(given, work, fewer, executor, out).items():
                if name.startswith(tuple(given.skip)):
                    continue
                stages.append(stage_seconds(work, executor))
                latest = way()
                answers.setdefault(name, []).append(latest)
                rate = len(latest.label_ids) / latest.seconds
                print(f"{turn} {name:28s} {latest.seconds:8.2f} s {rate:8.1f} images/s", flush=True)
    medians = [statistics.median(column) for column in zip(*stages, strict=True)]
    figures = {
        "model": given.model,
        "dtype": dtype,
        "batch_size": work.batch_size,
        "thresholds": work.thresholds[:-1],
        "note": given.note,
        "busy_before_rounds": busy,
        "full_batch_ms_per_image": [1000 * each / work.batch_size for each in medians],
        "ways": {name: of_way(runs, answers["bare"][0]) for name, runs in answers.items()},
        "ratios": ratios(work, answers, medians),
    }
    for name, value in figures["ratios"].items():
        print(f"{name:40s} {value:.3f}")
    report(figures, given)


def ways(
    given: argparse.Namespace,
    work: Workload,
    fewer: Workload,
    executor: StageExecutor,
    out: Path,
) -> dict[str, Callable[[], Answered]]:
    """What is run in every round, in this order."""
    from benchmarks.ways.engine import run_engine
    from benchmarks.ways.ray_data import run_chained, run_every_stage, run_predictor

    found: dict[str, Callable[[], Answered]] = {
        "one pool": partial(run_engine, work, work.thresholds, out / "cascade"),
        "two pools": partial(run_engine, work, work.thresholds, out / "two", "1 | 2-3"),
        "engine, full depth": partial(run_engine, fewer, work.full_depth, out / "full"),
        "full depth": partial(run_every_stage, fewer, is_static=False),
        "static": partial(run_every_stage, fewer, is_static=True),
    }
    for threads in given.chained_threads:
        found[f"chained, {threads} threads each"] = partial(run_chained, work, threads)
    for rows in given.rows_per_call or [min(work.num_images, 32 * work.batch_size)]:
        found[f"predictor, {rows} rows a call"] = partial(run_predictor, work, rows)
    found["bare"] = partial(run_bare, work, executor)
    return found


def of_way(runs: list[Answered], bare: Answered) -> dict[str, Any]:
    """Speed of one way, and whether it said what the bare loop said."""
    num_images = len(runs[0].label_ids)
    same = runs[0].label_ids == bare.label_ids[:num_images]
    return {
        "images": num_images,
        "seconds": [run.seconds for run in runs],
        "images_per_second": num_images / statistics.median(run.seconds for run in runs),
        "exits": np.bincount(runs[0].exit_stages, minlength=4)[1:].tolist(),
        "labels_like_bare": float(same.mean()),
    }


def ratios(
    work: Workload, answers: dict[str, list[Answered]], stage_s: list[float]
) -> dict[str, float]:
    """What the issue asks for."""
    per_image = {
        name: statistics.median(run.seconds for run in runs) / len(runs[0].label_ids)
        for name, runs in answers.items()
    }
    exits = answers["one pool"][0].exit_stages
    reached = [float((exits > stage).mean()) for stage in range(len(stage_s))]
    predicted = sum(share * s for share, s in zip(reached, stage_s, strict=True)) / work.batch_size
    gmacs = np.array(dvt.gmacs_per_exit(dvt.load_model(work.cascade).config))
    macs_saved = float(gmacs[-1] / gmacs[exits - 1].mean())
    chained = min(value for name, value in per_image.items() if name.startswith("chained"))
    pool, full = per_image["one pool"], per_image["full depth"]
    own_full = per_image["engine, full depth"]
    bare_full = sum(stage_s) / work.batch_size
    found = {
        "one pool / full depth (d/b)": full / pool,
        "one pool / chained (d/a)": chained / pool,
        "one pool / static (d/c)": per_image["static"] / pool,
        "two pools / chained (d/a)": chained / per_image["two pools"],
        "macs: full depth / cascade": macs_saved,
        "realised saving, engine": own_full / pool / macs_saved,
        "realised saving, stage times": bare_full / predicted / macs_saved,
        "predicted / taken": predicted / pool,
        "predicted / taken, bare": predicted / per_image["bare"],
        "overhead over the bare loop": pool / per_image["bare"] - 1,
    }
    for name, value in per_image.items():
        if name.startswith("predictor"):
            found[f"predicted / taken, {name}"] = predicted / value
    return found


def busy_share(seconds: float = 2.0) -> float:
    """Share of the processors that were busy for a moment in which nothing here worked."""

    def idle_and_all() -> tuple[int, int]:
        times = [int(part) for part in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        return times[3] + times[4], sum(times)

    idle, total = idle_and_all()
    time.sleep(seconds)
    idle_later, total_later = idle_and_all()
    return 1 - (idle_later - idle) / (total_later - total)


if __name__ == "__main__":
    main()
