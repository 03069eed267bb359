"""The engine against Ray Data and against no engine, on decoded pixels, in turns.

    python -m benchmarks.engine --model dvt_t2t_vit_12 --exit-mix 0.6 0.25 0.15 --images 512 \
        --batch-size 16
    python -m benchmarks.engine --model shapes --images 8192

    one pool             this engine
    two pools            this engine, stage 1 in a pool of its own
    engine, full depth   this engine, without early exits
    full depth           Ray Data: every image through all stages
    static               Ray Data: a static model of the same width with the last grid
    chained              Ray Data: three chained pools with strict batches between them
    predictor            Ray Data: `pipeline.CascadePredictor`
    bare                 the engine's runner in a plain loop, without Ray

Times exclude the start of actors (`benchmarks.contenders`). Full depth costs the same for every
image, so `--full-depth-images` may measure it on fewer. The ratio `predicted / taken` compares a
contender with the time that full batches, each stage timed alone in the same turns, would need for
the same exits.
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
from benchmarks.contenders.in_process import run_bare, stage_seconds
from benchmarks.contenders.workload import Measured, Workload, make_workload, open_executor
from benchmarks.reporting import argument_parser, report
from dvt.device import inference_dtype
from dvt.inference import StageExecutor
from pipeline.runtime.hardware import available_cpus
from pipeline.runtime.ray_session import running_ray

_LOGICAL_CPUS = 4  # for three pools and a task between them; threads are set by hand


def arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--model", default="shapes", help="shipped name, or preset")
    parser.add_argument("--exit-mix", type=float, nargs="+", help="shares; else own thresholds")
    parser.add_argument("--images", type=int, default=8192)
    parser.add_argument("--full-depth-images", type=int, help="for contenders without exits")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rows-per-call", type=int, nargs="+", help="of the predictor")
    parser.add_argument("--threads", type=int, default=available_cpus(), help="of a lone actor")
    parser.add_argument("--chained-threads", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip", nargs="*", default=[], help="contenders, by prefix")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    # Ray lowers the priority of its workers; the bare loop must have no higher one.
    os.environ.setdefault("RAY_worker_niceness", "0")
    dtype = str(inference_dtype(torch.device("cpu"))).removeprefix("torch.")
    mix = None if given.exit_mix is None else tuple(given.exit_mix)
    torch.set_num_threads(given.threads)
    work = make_workload(given.model, mix, given.images, given.batch_size, given.threads, dtype)
    executor = open_executor(work.cascade, dtype, work.num_threads, work.batch_size)
    busy: list[float] = []
    stages: list[list[float]] = []
    measured: dict[str, list[Measured]] = {}
    with running_ray(_LOGICAL_CPUS), tempfile.TemporaryDirectory() as folder:
        for turn in range(given.rounds):
            busy.append(busy_share())
            for name, run in contenders(given, work, executor, Path(folder) / str(turn)).items():
                stages.append(stage_seconds(work, executor))
                latest = run()
                measured.setdefault(name, []).append(latest)
                rate = len(latest.label_ids) / latest.seconds
                print(f"{turn} {name:28s} {latest.seconds:8.2f} s {rate:8.1f} images/s", flush=True)
    medians = [statistics.median(seconds) for seconds in zip(*stages, strict=True)]
    results = {
        "model": given.model,
        "dtype": dtype,
        "batch_size": work.batch_size,
        "thresholds": work.thresholds[:-1],
        "busy_before_rounds": busy,
        "full_batch_ms_per_image": [1000 * each / work.batch_size for each in medians],
        "contenders": {name: summary(each, measured["bare"][0]) for name, each in measured.items()},
        "ratios": ratios(work, measured, medians),
    }
    for name, value in results["ratios"].items():
        print(f"{name:40s} {value:.3f}")
    report(results, given)


def contenders(
    given: argparse.Namespace, work: Workload, executor: StageExecutor, out: Path
) -> dict[str, Callable[[], Measured]]:
    """What to run in a round, in this order."""
    from benchmarks.contenders.engine import run_engine
    from benchmarks.contenders.ray_data import run_chained, run_every_stage, run_predictor

    fewer = replace(work, num_images=given.full_depth_images or work.num_images)
    found: dict[str, Callable[[], Measured]] = {
        "one pool": partial(run_engine, work, work.thresholds, out / "one"),
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
    return {name: run for name, run in found.items() if not name.startswith(tuple(given.skip))}


def summary(runs: list[Measured], bare: Measured) -> dict[str, Any]:
    """Speed of a contender, and the share of its labels that are those of the bare loop."""
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
    work: Workload, measured: dict[str, list[Measured]], stage_s: list[float]
) -> dict[str, float]:
    """Speed-ups, the saving realised of that in MACs, and predicted against measured time.

    Args:
        work: the archive and the model.
        measured: of each contender.
        stage_s: median seconds of a full batch in each stage.
    """
    per_image = {
        name: statistics.median(run.seconds for run in runs) / len(runs[0].label_ids)
        for name, runs in measured.items()
    }
    exits = measured["one pool"][0].exit_stages
    reached = [float((exits > stage).mean()) for stage in range(len(stage_s))]
    predicted = sum(share * s for share, s in zip(reached, stage_s, strict=True)) / work.batch_size
    gmacs = np.array(dvt.load_model(work.cascade).spec.gmacs_per_exit)
    macs_saved = float(gmacs[-1] / gmacs[exits - 1].mean())
    chained = min(value for name, value in per_image.items() if name.startswith("chained"))
    pool, full = per_image["one pool"], per_image["full depth"]
    own_full = per_image["engine, full depth"]
    stages_full = sum(stage_s) / work.batch_size
    found = {
        "one pool / full depth": full / pool,
        "one pool / chained": chained / pool,
        "one pool / static": per_image["static"] / pool,
        "two pools / chained": chained / per_image["two pools"],
        "macs: full depth / cascade": macs_saved,
        "realised saving, engine": own_full / pool / macs_saved,
        "realised saving, stage times": stages_full / predicted / macs_saved,
        "predicted / taken": predicted / pool,
        "predicted / taken, bare": predicted / per_image["bare"],
        "overhead over the bare loop": pool / per_image["bare"] - 1,
    }
    for name, value in per_image.items():
        if name.startswith("predictor"):
            found[f"predicted / taken, {name}"] = predicted / value
    return found


def busy_share(seconds: float = 2.0) -> float:
    """Share of the processors that are busy while this process sleeps."""

    def idle_and_all() -> tuple[int, int]:
        times = [int(part) for part in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        return times[3] + times[4], sum(times)

    idle, total = idle_and_all()
    time.sleep(seconds)
    idle_later, total_later = idle_and_all()
    return 1 - (idle_later - idle) / (total_later - total)


if __name__ == "__main__":
    main()
