"""The search index on made-up rows: time and memory to build and update it, queries, recall.

    nice python -m benchmarks.index --rows 1000000 --out benchmarks/results/index.json

`dvt index` runs as a process of its own, whose peak memory is measured. Then 1 % of the rows
change, spread over all files (half are replaced, the rest is added or removed), and it runs again.
Queries run in one process, in turns; the first of each is not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.made_up_tags import LABELS, MadeUpOutput, made_up_keys
from benchmarks.reporting import argument_parser, in_turns, report
from jobs.search.engine import ImageIndex
from jobs.search.query import FilterOptions

_LIMITS = {"words_ms": 50, "vector_ms": 50, "hybrid_with_filter_ms": 100, "recall_at_10": 0.95}


def arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--width", type=int, default=192, help="of the vectors")
    parser.add_argument("--queries", type=int, default=100, help="of each kind")
    parser.add_argument("--folder", type=Path, help="where to work [default: a temporary folder]")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    with tempfile.TemporaryDirectory(dir=given.folder, prefix="dvt-index-") as folder:
        out, index = Path(folder) / "out", Path(folder) / "index"
        keys = made_up_keys(given.rows)
        MadeUpOutput(out, given.width).write(keys)
        whole = run_index(out, index)
        print(f"whole: {whole}", flush=True)
        change(MadeUpOutput(out, given.width, epoch=2), keys)
        changed = run_index(out, index)
        print(f"changed: {changed}", flush=True)
        nothing = run_index(out, index)
        queries = time_queries(index, given.queries)
        print(f"queries: {queries}", flush=True)
        index_bytes = sum(file.stat().st_size for file in index.rglob("*") if file.is_file())
    report(
        {
            "rows": given.rows,
            "width": given.width,
            "whole": whole,
            "changed_1_percent": changed,
            "changed_of_whole": {
                name: round(changed[name] / whole[name], 4)
                for name in ("seconds", "processor_seconds")
            },
            "nothing_changed": nothing,
            "queries": queries,
            "index_bytes": index_bytes,
            "limits": _LIMITS,
            "lancedb": version("lancedb"),
        },
        given,
    )


def run_index(out: Path, index: Path) -> dict[str, Any]:
    """Figures of one `dvt index`."""
    code = "from jobs.cli import main; main()"
    command = [sys.executable, "-c", code, "index", str(out), "--to", str(index), "--json"]
    with tempfile.TemporaryFile("w+") as printed:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=printed)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - started
        printed.seek(0)
        data = json.loads(printed.read().splitlines()[-1])
    assert process.returncode == 0
    names = ("written", "removed", "documents", "recall_at_10")
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_bytes": usage.ru_maxrss * 1024,
        **{name: data[name] for name in names},
    }


def change(out: MadeUpOutput, keys: list[str]) -> None:
    """Changes 1 % of the rows."""
    num_some = len(keys) // 400
    replaced = keys[:: len(keys) // (2 * num_some)][: 2 * num_some]
    removed = keys[7 :: len(keys) // num_some][:num_some]
    out.write(sorted(set(replaced) - set(removed)), generation=1)
    out.remove(removed)
    out.write(made_up_keys(num_some, first=len(keys)))


def time_queries(location: Path, num_queries: int) -> dict[str, float]:
    """Median times in milliseconds."""
    index = ImageIndex(location)
    random = np.random.default_rng(1)
    keys = index.table.search().select(["key"]).limit(5000).to_arrow()["key"].to_pylist()
    vectors = [index.vector_of(str(key)) for key in random.choice(keys, num_queries)]
    words = [LABELS[number] for number in random.integers(0, len(LABELS), num_queries)]
    groups = [("dog", "bird", "animal", "vehicle")[n % 4] for n in range(num_queries)]
    filters = FilterOptions(group=("animal",), min_confidence=0.6, exit=2)
    kinds: dict[str, Callable[[int], object]] = {
        "words_ms": lambda n: index.search(words[n]),
        "group_ms": lambda n: index.search(groups[n]),
        "vector_ms": lambda n: index.search(vector=vectors[n]),
        "filter_ms": lambda n: index.search(vector=vectors[n], filters=filters),
        "hybrid_with_filter_ms": lambda n: index.search(words[n], vectors[n], filters),
    }
    counts = dict.fromkeys(kinds, -1)

    def timed(kind: str) -> float:
        counts[kind] = (counts[kind] + 1) % num_queries
        started = time.perf_counter()
        kinds[kind](counts[kind])
        return 1000 * (time.perf_counter() - started)

    turns = in_turns({kind: partial(timed, kind) for kind in kinds}, num_queries)
    return {kind: round(statistics.median(times), 1) for kind, times in turns.items()}


if __name__ == "__main__":
    main()
