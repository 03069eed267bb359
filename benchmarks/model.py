"""Times the cascade's stages: the package against the plain model, in turns.

    python -m benchmarks.model --models dvt_t2t_vit_12 dvt_deit_small --batch-size 64

Every contender has a process of its own, because how the C library keeps memory affects the whole
process. The plain model (`tests/dvt/plain_cascade.py`) computes in float32, on CUDA also under
autocast. Weights are random; they do not affect the time.
"""

import argparse
import multiprocessing
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch

import dvt
from benchmarks.reporting import argument_parser, in_turns, report
from dvt.cost import stage_cost
from dvt.device import best_device, inference_dtype
from dvt.inference.memory import keep_freed_memory
from dvt.inference.profiling import matmul_limit_gmacs_s, time_call
from dvt.preprocess import normalise, pixels_to_unit
from dvt.presets import preset
from dvt.reuse import StageState
from tests.dvt.plain_cascade import PlainOutput, plain_stage


class Contender(NamedTuple):
    """The plain model or the package, and in which precision."""

    is_plain: bool
    dtype: str
    keeps_memory: bool

    def __str__(self) -> str:
        suffix = ", memory kept" if self.is_plain and self.keeps_memory else ""
        return f"{'plain' if self.is_plain else 'fast'} {self.dtype}{suffix}"


@dataclass
class _Model:
    """What a process keeps between two calls.

    Attributes:
        run: runs a stage (from 0) on a state.
        state: input of the next stage.
    """

    run: Callable[[int, Any], Any]
    state: Any = None


_model: _Model | None = None


def prepare(contender: Contender, name: str, batch_size: int, threads: int) -> None:
    """Makes the model; called once in each process."""
    global _model  # a worker process has one
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device, dtype = best_device(), getattr(torch, contender.dtype)
    model = dvt.create_model(name)
    size = model.config.image_size
    pixels = torch.randint(0, 256, (batch_size, size, size, 3), dtype=torch.uint8).to(device)
    if contender.keeps_memory:
        keep_freed_memory()
    if not contender.is_plain:
        executor = model.make_executor(device, dtype)

        def fast(stage: int, state: StageState | None) -> StageState | None:
            return executor.run(stage, pixels, state, batch_size).state

        _model = _Model(fast)
        return
    weights = {key: value.to(device) for key, value in model.state_dict().items()}
    images = normalise(pixels_to_unit(pixels), model.config.preprocess)

    def plain(stage: int, state: PlainOutput | None) -> PlainOutput:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            return plain_stage(model.config, stage, weights, images, state)

    _model = _Model(plain)


@torch.inference_mode()
def timed(stage: int) -> float:
    """Seconds of one pass of a stage."""
    assert _model is not None
    return time_call(partial(_model.run, stage, _model.state), best_device())


@torch.inference_mode()
def advance(stage: int) -> None:
    """Runs a stage and keeps its state for the next one."""
    assert _model is not None
    state = _model.run(stage, _model.state)
    if isinstance(state, StageState):  # a copy: an executor may overwrite its output
        state = StageState.join([state])
    _model.state = state


def arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--models", nargs="+", default=["dvt_t2t_vit_12", "dvt_deit_small"])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bfloat16", action="store_true", help="even if the CPU emulates it")
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
    contenders = [
        Contender(True, "float32", False),
        *(Contender(False, dtype, True) for dtype in dtypes),
    ]
    if device.type == "cpu":
        contenders.insert(1, Contender(True, "float32", True))
    elif "bfloat16" in dtypes:
        contenders.insert(1, Contender(True, "bfloat16", False))
    models = {}
    for name in given.models:
        stages = stage_times(contenders, name, given)
        models[name] = {"stages": stages, **summary(stages, limits)}
        print_table(name, models[name])
    results = {"batch_size": given.batch_size, "matmul_limit_gmacs_s": limits, "models": models}
    report(results, given)


def stage_times(
    contenders: list[Contender], name: str, given: argparse.Namespace
) -> list[dict[str, Any]]:
    """MACs of each stage, and the milliseconds per image of each contender."""
    config = preset(name)
    context = multiprocessing.get_context("spawn")
    processes = {
        str(contender): ProcessPoolExecutor(
            1, context, prepare, (contender, name, given.batch_size, given.threads)
        )
        for contender in contenders
    }
    stages = []
    for stage in range(config.num_stages):

        def timed_in(process: ProcessPoolExecutor, stage: int = stage) -> Callable[[], float]:
            return lambda: process.submit(timed, stage).result()

        runs = {contender: timed_in(process) for contender, process in processes.items()}
        seconds_of_contender = in_turns(runs, given.rounds)
        for process in processes.values():
            process.submit(advance, stage).result()
        cost = stage_cost(config, stage)
        stages.append(
            {
                "gmacs": cost.total / 1e9,
                "gmacs_useful": cost.useful / 1e9,
                "gmacs_executed": cost.executed / 1e9,
                "ms_per_image": {
                    contender: 1000 * statistics.median(seconds) / given.batch_size
                    for contender, seconds in seconds_of_contender.items()
                },
            }
        )
    for process in processes.values():
        process.shutdown()
    return stages


def summary(stages: list[dict[str, Any]], limits: dict[str, float]) -> dict[str, Any]:
    """Ratios to the plain model and shares of the matmul limit, by stage and over the cascade."""
    plain, *_ = contenders = list(stages[0]["ms_per_image"])
    total = {each: sum(stage["ms_per_image"][each] for stage in stages) for each in contenders}
    useful = sum(stage["gmacs_useful"] for stage in stages)
    return {
        "cascade_ms_per_image": total,
        "speedup_per_stage": {
            each: [stage["ms_per_image"][plain] / stage["ms_per_image"][each] for stage in stages]
            for each in contenders
        },
        "speedup": {each: total[plain] / total[each] for each in contenders},
        # Counts neither skipped MACs nor multiplications by the zeros of the resizing.
        "share_of_limit": {
            f"fast {dtype}": useful / total[f"fast {dtype}"] * 1000 / limit
            for dtype, limit in limits.items()
        },
    }


def print_table(name: str, results: dict[str, Any]) -> None:
    print(f"\n{name}: ms per image")
    for contender, total in results["cascade_ms_per_image"].items():
        times = "  ".join(f"{stage['ms_per_image'][contender]:8.2f}" for stage in results["stages"])
        share = results["share_of_limit"].get(contender)
        of_limit = "" if share is None else f"  {100 * share:.0f} % of the limit"
        speedup = results["speedup"][contender]
        print(f"  {contender:28s}{times}  total {total:8.2f}  {speedup:.2f}x{of_limit}")


if __name__ == "__main__":
    main()
