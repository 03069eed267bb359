"""The cascade's stages: the plain model against the package's, in turns in one process.

    python -m benchmarks.model --models dvt_t2t_vit_12 dvt_deit_small --batch-size 64

The plain model (`tests/dvt/plain_cascade.py`) computes in float32, once with the C library's own
memory settings and once with freed memory kept in the process, as the package has it. Weights are
random: time does not depend on them.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import dvt
from benchmarks.reporting import median_ms, report
from dvt.cost import stage_cost
from dvt.device import best_device, inference_dtype
from dvt.fast import make_executor
from dvt.fast.allocator import keep_freed_memory, return_freed_memory
from dvt.fast.profiling import in_turns, matmul_limit_gmacs_s
from dvt.preprocess import normalise, pixels_to_unit
from dvt.reuse import StageState
from tests.dvt.plain_cascade import PlainOutput, plain_stage


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
    dtypes = [torch.float32]
    if given.bfloat16 or inference_dtype(device) == torch.bfloat16:
        dtypes.append(torch.bfloat16)
    limits = {_name(dtype): matmul_limit_gmacs_s(device, dtype) for dtype in dtypes}
    print("matmul limit, GMAC/s:", {name: round(limit, 1) for name, limit in limits.items()})
    models = {}
    for name in given.models:
        with torch.inference_mode():
            stages = stage_times(name, device, dtypes, given.batch_size, given.rounds)
        models[name] = {"stages": stages, **summary(stages, limits)}
        print_table(name, models[name])
    report(
        {"batch_size": given.batch_size, "matmul_limit_gmacs_s": limits, "models": models}, given
    )


def stage_times(
    name: str, device: torch.device, dtypes: list[torch.dtype], batch_size: int, rounds: int
) -> list[dict[str, Any]]:
    """Milliseconds of an image in each stage, by way of computing it."""
    model = dvt.create_model(name)
    config, size = model.config, model.config.image_size
    weights = {key: value.to(device) for key, value in model.state_dict().items()}
    executors = {}
    for dtype in dtypes:
        twin = dvt.create_model(name)
        twin.load_state_dict(model.state_dict())
        executors[_name(dtype)] = make_executor(twin, device, dtype)
    pixels = torch.randint(0, 256, (batch_size, size, size, 3), dtype=torch.uint8)
    on_device = pixels.to(device)
    images = normalise(pixels_to_unit(on_device), config.preprocess)
    plain_state: PlainOutput | None = None
    states: dict[str, StageState | None] = dict.fromkeys(executors)
    found = []
    for stage in range(config.num_stages):
        plain = partial(plain_stage, config, stage, weights, images, plain_state)
        runs = {
            way: partial(executor.run, stage, on_device, states[way], batch_size)
            for way, executor in executors.items()
        }
        works: dict[str, Callable[[], object]] = {
            "plain": partial(_after, return_freed_memory, plain),
            "plain, memory kept": partial(_after, keep_freed_memory, plain),
        }
        for way, run in runs.items():
            works[f"fast {way}"] = partial(_after, keep_freed_memory, run)
        seconds = in_turns(works, rounds, device)
        cost = stage_cost(config, stage)
        times = {way: median_ms(taken, batch_size) for way, taken in seconds.items()}
        found.append(
            {
                "gmacs": cost.total / 1e9,
                "gmacs_executed": cost.executed / 1e9,
                "ms_per_image": times,
            }
        )
        plain_state = plain()
        # Joining copies: an executor may write over its output.
        outputs = {way: run().state for way, run in runs.items()}
        states = {
            way: None if state is None else StageState.join([state])
            for way, state in outputs.items()
        }
    return found


def _after(setting: Callable[[], object], work: Callable[[], object]) -> object:
    setting()
    return work()


def summary(stages: list[dict[str, Any]], limits: dict[str, float]) -> dict[str, Any]:
    """Ratios to the plain model and shares of the limit, by stage and over the cascade."""
    ways = list(stages[0]["ms_per_image"])
    total = {way: sum(stage["ms_per_image"][way] for stage in stages) for way in ways}
    executed = sum(stage["gmacs_executed"] for stage in stages)
    return {
        "cascade_ms_per_image": total,
        "speedup_per_stage": {
            way: [stage["ms_per_image"]["plain"] / stage["ms_per_image"][way] for stage in stages]
            for way in ways
        },
        "speedup": {way: total["plain"] / total[way] for way in ways},
        # Only MACs that are really run count; the paper's also has those that are left out.
        "share_of_limit": {
            f"fast {dtype}": executed / total[f"fast {dtype}"] * 1000 / limit
            for dtype, limit in limits.items()
        },
    }


def print_table(name: str, figures: dict[str, Any]) -> None:
    print(f"\n{name}: ms per image")
    for way, total in figures["cascade_ms_per_image"].items():
        times = "  ".join(f"{stage['ms_per_image'][way]:8.2f}" for stage in figures["stages"])
        share = figures["share_of_limit"].get(way)
        of_limit = "" if share is None else f"  {100 * share:.0f} % of the limit"
        print(f"  {way:20s}{times}  total {total:8.2f}  {figures['speedup'][way]:.2f}x{of_limit}")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    main()
