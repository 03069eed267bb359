"""The scheduler in virtual time: speed, utilisation, memory, and a thousand faulty runs.

    python -m benchmarks.scheduler --out benchmarks/results/scheduler.json

Four parts; `--only` chooses some of them. Each is checked after every step (docs/simulation.md):

    actors   1,024 actors, exit rates that drift: utilisation, and images scheduled per second of
             processor time
    pools    the same stages in two pools
    memory   an archive of `--memory-images`: resident memory over the run
    faults   `--runs` seeded runs in which everything fails
"""

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.reporting import argument_parser, report
from pipeline.simulation import Scenario, SimulationResult, fault_scenario, simulate

GOAL_IMAGES_S = 200_000
GOAL_UTILISATION = 0.95


def arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--images", type=int, default=8_000_000, help="for actors and pools")
    parser.add_argument("--memory-images", type=int, default=1_000_000_000)
    parser.add_argument("--memory-batch", type=int, default=4096, help="images per block")
    parser.add_argument("--runs", type=int, default=1000, help="with faults")
    parser.add_argument("--run-images", type=int, default=4000, help="in each faulty run")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    results: dict[str, Any] = {}
    for part in given.only:
        results[part] = PARTS[part](given)
        print(f"{part}: {results[part]}", flush=True)
    limits = {"images_s": GOAL_IMAGES_S, "utilisation": GOAL_UTILISATION}
    report({**results, "limits": limits}, given)


def actors(given: argparse.Namespace) -> dict[str, Any]:
    return _large(given, "1-3", (1024,))


def pools(given: argparse.Namespace) -> dict[str, Any]:
    # The first stage takes 20 of the 48 ms of a batch.
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
    return _as_dict(scenario, simulate(scenario))


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

    def on_progress(num_listed: int) -> None:
        entry = {
            "wall_s": round(time.perf_counter() - started, 1),
            "images": num_listed,
            "resident_mb": round(_resident_mb(), 1),
        }
        resident.append(entry)
        print(entry, flush=True)

    result = simulate(scenario, on_progress=on_progress)
    sizes = [entry["resident_mb"] for entry in resident]
    growth_mb = sizes[-1] - sizes[0] if sizes else None
    return {
        **_as_dict(scenario, result),
        "resident": resident,
        "growth_mb_after_first_report": growth_mb,
    }


def faults(given: argparse.Namespace) -> dict[str, Any]:
    runs: list[SimulationResult] = []
    happened: Counter[str] = Counter()
    for seed in range(given.runs):
        # Raises if an image is lost or completed twice, or any other invariant is broken.
        runs.append(simulate(fault_scenario(seed, given.run_images)))
        happened.update(runs[-1].faults)
        if seed % 50 == 49:
            print(f"{seed + 1} runs", flush=True)
    sums = ("images", "given_up", "decoded_again", "run_again", "answers_lost", "steps", "wall_s")
    return {
        "runs": len(runs),
        "faults": dict(happened),
        **{name: sum(getattr(run, name) for run in runs) for name in sums},
    }


def _as_dict(scenario: Scenario, result: SimulationResult) -> dict[str, Any]:
    return {"scenario": scenario.model_dump(), **asdict(result)}


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
