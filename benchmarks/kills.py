"""Runs with kills of actors, nodes and the coordinator at random moments, against a calm one.

    python -m benchmarks.kills --runs 20 --out benchmarks/results/kills.json

Each run is `dvt tag` on a cluster of three raylets, given again after each kill of itself; its
table, sorted by key, must be byte for byte that of the calm run. The tests do five of these.
"""

import argparse
import tempfile
import time
from pathlib import Path

from benchmarks.reporting import report
from jobs.shapes import write_shapes
from tests.failures.cluster import running_cluster
from tests.failures.random_kills import run_calmly, run_with_kills, sorted_table


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--out", type=Path, help="keep the results in this file too")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    runs = []
    with tempfile.TemporaryDirectory() as folder, running_cluster(2, 4) as cluster:
        images = write_shapes(Path(folder) / "a", given.images, seed=11, size=(128, 96)).images
        run_calmly(images, Path(folder) / "calm")
        calm = sorted_table(Path(folder) / "calm")
        for seed in range(given.first_seed, given.first_seed + given.runs):
            out = Path(folder) / f"{seed}"
            started = time.perf_counter()
            disturbed = run_with_kills(cluster, images, out, seed)
            runs.append(
                {
                    "seed": seed,
                    "kills": disturbed.kills,
                    "starts": disturbed.starts,
                    "seconds": round(time.perf_counter() - started, 1),
                    "is_identical": sorted_table(out) == calm,
                }
            )
            print(runs[-1], flush=True)
            # Whatever ends this early, what is known is kept.
            figures = {
                "images": given.images,
                "runs": runs,
                "num_identical": sum(bool(run["is_identical"]) for run in runs),
                "num_runs": len(runs),
            }
            report(figures, given)


if __name__ == "__main__":
    main()
