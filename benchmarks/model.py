"""The cascade's stages: the plain model against the package's, in turns.

    python -m benchmarks.model --models dvt_t2t_vit_12 dvt_deit_small --batch-size 64

Every way of computing has a process of its own, for how the C library keeps memory is a matter of
the whole process; they take turns, one at a time. The plain model (`tests/dvt/plain_cascade.py`)
computes in float32, on CUDA under autocast too. Weights are random: time does not depend on them.
"""

import argparse
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

import dvt
from benchmarks.reporting import report
from dvt.cost import stage_cost
from dvt.device import best_device, inference_dtype
from dvt.inference import make_executor
from dvt.inference.memory import keep_freed_memory
from dvt.inference.profiling import matmul_limit_gmacs_s, seconds_of
from dvt.preprocess import normalise, pixels_to_unit
from dvt.presets import preset
from dvt.reuse import StageState
from tests.dvt.plain_cascade import PlainOutput, plain_stage


class Way(NamedTuple):
    """A way of computing: the plain model or the package's, in which precision."""

    is_plain: bool
    dtype: str
    keeps_memory: bool

    def __str__(self) -> str:
        kept = ", memory kept" if self.is_plain and self.keeps_memory else ""
        return f"{'plain' if self.is_plain else 'fast'} {self.dtype}{kept}"


@dataclass
class _Bench:
    """What a process holds between two calls: the state that the next stage starts from."""

    way: Way
    config: dvt.CascadeConfig
    run: Any
    state: Any = None


_bench: _Bench | None = None


def prepare(way: Way, name: str, batch_size: int, threads: int) -> None:
    """Makes the model; called once in each process."""
    global _bench  # a worker process has one
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device, dtype = best_device(), getattr(torch, way.dtype)
    model = dvt.create_model(name)
    size = model.config.image_size
    pixels = torch.randint(0, 256, (batch_size, size, size, 3), dtype=torch.uint8).to(device)
    if way.keeps_memory:
        keep_freed_memory()
    if not way.is_plain:
        executor = make_executor(model, device, dtype)

        def fast(stage: int, state: StageState | None) -> StageState | None:
            return executor.run(stage, pixels, state, batch_size).state

        _bench = _Bench(way, model.config, fast)
        return
    weights = {key: value.to(device) for key, value in model.state_dict().items()}
    images = normalise(pixels_to_unit(pixels), model.config.preprocess)

    def plain(stage: int, state: PlainOutput | None) -> PlainOutput:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            return plain_stage(model.config, stage, weights, images, state)

    _bench = _Bench(way, model.config, plain)


@torch.inference_mode()
def timed(stage: int) -> float:
    """Seconds of one pass of a stage."""
    assert _bench is not None
    return seconds_of(partial(_bench.run, stage, _bench.state), best_device())


@torch.inference_mode()
def advance(stage: int) -> None:
    """Keeps what the stage hands on, for the next one."""
    assert _bench is not None
    handed_on = _bench.run(stage, _bench.state)
    if isinstance(handed_on, StageState):  # a copy: an executor may write over its output
        handed_on = StageState.join([handed_on])
    _bench.state = handed_on


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["dvt_t2t_vit_12", "dvt_deit_small"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bfloat16", action="store_true", help="even where it is emulated")
    parser.add_argument("--out", type=Path, help="keep the results in this file too")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    device = best_device()
    dtypes = ["float32"]
    if given.bfloat16 or inference_dtype(device) == torch.bfloat16:
        dtypes.append("bfloat16")
    limits = {dtype: matmul_limit_gmacs_s(device, getattr(torch, dtype)) for dtype in dtypes}
    print("matmul limit, GMAC/s:", {name: round(limit, 1) for name, limit in limits.items()})
    ways = [Way(True, "float32", False), *(Way(False, dtype, True) for dtype in dtypes)]
    if device.type == "cpu":
        ways.insert(1, Way(True, "float32", True))
    elif "bfloat16" in dtypes:
        ways.insert(1, Way(True, "bfloat16", False))
    models = {}
    for name in given.models:
        stages = stage_times(ways, name, given)
        models[name] = {"stages": stages, **summary(stages, limits)}
        print_table(name, models[name])
    figures = {"batch_size": given.batch_size, "matmul_limit_gmacs_s": limits, "models": models}
    report(figures, given)


def stage_times(ways: list[Way], name: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Milliseconds of an image in each stage, by way of computing it."""
    config = preset(name)
    context = multiprocessing.get_context("spawn")
    processes = {
        way: ProcessPoolExecutor(1, context, prepare, (way, name, given.batch_size, given.threads))
        for way in ways
    }
    found = []
    for stage in range(config.num_stages):
        seconds: dict[Way, list[float]] = {way: [] for way in ways}
        for turn in range(given.rounds + 1):
            for way, process in processes.items():
                taken = process.submit(timed, stage).result()
                if turn:  # the first warms up
                    seconds[way].append(taken)
        for process in processes.values():
            process.submit(advance, stage).result()
        cost = stage_cost(config, stage)
        times = {
            str(way): 1000 * statistics.median(runs) / given.batch_size
            for way, runs in seconds.items()
        }
        found.append(
            {
                "gmacs": cost.total / 1e9,
                "gmacs_useful": cost.useful / 1e9,
                "gmacs_executed": cost.executed / 1e9,
                "ms_per_image": times,
            }
        )
    for process in processes.values():
        process.shutdown()
    return found


def summary(stages: list[dict[str, Any]], limits: dict[str, float]) -> dict[str, Any]:
    """Ratios to the plain model and shares of the limit, by stage and over the cascade."""
    plain, *_ = ways = list(stages[0]["ms_per_image"])
    total = {way: sum(stage["ms_per_image"][way] for stage in stages) for way in ways}
    useful = sum(stage["gmacs_useful"] for stage in stages)
    return {
        "cascade_ms_per_image": total,
        "speedup_per_stage": {
            way: [stage["ms_per_image"][plain] / stage["ms_per_image"][way] for stage in stages]
            for way in ways
        },
        "speedup": {way: total[plain] / total[way] for way in ways},
        # Neither MACs that are left out count, nor what the resizing multiplies by zero.
        "share_of_limit": {
            f"fast {dtype}": useful / total[f"fast {dtype}"] * 1000 / limit
            for dtype, limit in limits.items()
        },
    }


def print_table(name: str, figures: dict[str, Any]) -> None:
    print(f"\n{name}: ms per image")
    for way, total in figures["cascade_ms_per_image"].items():
        times = "  ".join(f"{stage['ms_per_image'][way]:8.2f}" for stage in figures["stages"])
        share = figures["share_of_limit"].get(way)
        of_limit = "" if share is None else f"  {100 * share:.0f} % of the limit"
        print(f"  {way:28s}{times}  total {total:8.2f}  {figures['speedup'][way]:.2f}x{of_limit}")


if __name__ == "__main__":
    main()
