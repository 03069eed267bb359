"""The scheduler in virtual time: speed, utilisation, memory, and a thousand runs full of faults.

    python -m benchmarks.scheduler --out benchmarks/results/scheduler.json

Four parts, each checked at every step (every image ends once, budgets hold, nothing stands still):

    actors   1,024 actors, exit rates that drift: their utilisation, and images that one core can
             schedule a second, in processor time of the scheduler alone
    pools    the same stages on two pools
    memory   an archive of `--memory-images`: resident memory in the course of it
    faults   `--runs` seeded runs in which everything fails

`--only` chooses parts. Times are processor times, so that other work on the machine counts little.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.reporting import report
from pipeline.simulation import Scenario, SimulationResult, fault_scenario, simulate

GOAL_IMAGES_S = 200_000
GOAL_UTILISATION = 0.95


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--images", type=int, default=8_000_000, help="of actors and pools")
    parser.add_argument("--memory-images", type=int, default=1_000_000_000)
    parser.add_argument("--memory-batch", type=int, default=4096, help="images in a block there")
    parser.add_argument("--runs", type=int, default=1000, help="with faults")
    parser.add_argument("--run-images", type=int, default=4000, help="in each of these")
    parser.add_argument("--out", type=Path, help="keep the results in this file too")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    figures: dict[str, Any] = {}
    for part in given.only:
        figures[part] = PARTS[part](given)
        print(f"{part}: {figures[part]}", flush=True)
    report(
        {**figures, "limits": {"images_s": GOAL_IMAGES_S, "utilisation": GOAL_UTILISATION}}, given
    )


def actors(given: argparse.Namespace) -> dict[str, Any]:
    return _large(given, "1-3", (1024,))


def pools(given: argparse.Namespace) -> dict[str, Any]:
    # Of 48 ms a batch, 20 are the first stage's.
    return _large(given, "1 | 2-3", (427, 597))


def _large(given: argparse.Namespace, split: str, counts: tuple[int, ...]) -> dict[str, Any]:
    scenario = Scenario(
        images=given.images,
        pools=split,
        actors=counts,
        decoders=1024,
        drift=0.5,
        budget_gb=2000,
        listing_ms=0.05,
    )
    figures = simulate(scenario)
    return {"scenario": scenario.model_dump(), **_short(figures)}


def memory(given: argparse.Namespace) -> dict[str, Any]:
    scenario = Scenario(
        images=given.memory_images,
        shard_images=4096,
        batch_size=given.memory_batch,
        actors=(64,),
        decoders=64,
        stage_ms=(1000.0, 2000.0, 4000.0),
        drift=0.5,
        budget_gb=1000,
    )
    started = time.perf_counter()
    resident: list[dict[str, float]] = []

    def listener(num_listed: int) -> None:
        entry = {
            "wall_s": round(time.perf_counter() - started, 1),
            "images": num_listed,
            "resident_mb": round(_resident_mb(), 1),
        }
        resident.append(entry)
        print(entry, flush=True)

    figures = simulate(scenario, on_progress=listener)
    settled = [entry["resident_mb"] for entry in resident]
    return {
        "scenario": scenario.model_dump(),
        "resident": resident,
        "growth_mb_after_first_report": settled[-1] - settled[0] if settled else None,
        **_short(figures),
    }


def faults(given: argparse.Namespace) -> dict[str, Any]:
    runs: list[SimulationResult] = []
    for seed in range(given.runs):
        # Raises if an image is lost, ends twice, or anything else that must hold does not.
        runs.append(simulate(fault_scenario(seed, given.run_images)))
        if seed % 50 == 49:
            print(f"{seed + 1} runs", flush=True)
    totals: dict[str, int] = {}
    for run in runs:
        for name, count in run.faults.items():
            totals[name] = totals.get(name, 0) + count
    return {
        "runs": len(runs),
        "images": sum(run.images for run in runs),
        "lost_or_twice": 0,
        "faults": totals,
        "given_up": sum(run.given_up for run in runs),
        "decoded_again": sum(run.decoded_again for run in runs),
        "run_again": sum(run.run_again for run in runs),
        "answers_lost": sum(run.answers_lost for run in runs),
        "steps": sum(run.steps for run in runs),
        "wall_s": sum(run.wall_s for run in runs),
    }


def _short(figures: SimulationResult) -> dict[str, Any]:
    return {key: value for key, value in asdict(figures).items() if key != "faults"}


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "actors": actors,
    "pools": pools,
    "memory": memory,
    "faults": faults,
}

if __name__ == "__main__":
    main()
