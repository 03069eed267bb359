"""The memory of a run: the coordinator over millions of images, and the object store.

    python -m benchmarks.memory --out benchmarks/results/memory.json

    coordinator   the real coordinator, scheduler, ledger, writer and tables list, schedule and
                  commit `--images` synthetic images: resident memory of the process after the first
                  minute and at the end
    store         pools "1 | 2 | 3" of the shipped model run every image through all stages, and
                  stage 3 is slower by `--slowness`: bytes in the object store, and bytes spilled

`--only` chooses parts.
"""

import argparse
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray

import dvt
from benchmarks.reporting import argument_parser, report
from benchmarks.synthetic import InstantActor, PixelActor, SlowActor, SyntheticRun
from dvt.exits import FULL_DEPTH
from pipeline.pools import parse_pools
from pipeline.records import ImageRecord
from pipeline.runtime.actor_pools import PoolSpec
from pipeline.runtime.launch import actor_kind, actor_pool_specs
from pipeline.runtime.ray_session import running_ray
from pipeline.settings import TagSettings
from pipeline.sources import open_archive

GOAL_GROWTH_BYTES = 100e6
_LOGICAL_CPUS = 8


def arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--images", type=int, default=2_000_000, help="of the coordinator's part")
    parser.add_argument("--block", type=int, default=256, help="images per block there")
    parser.add_argument("--store-images", type=int, default=6_000)
    parser.add_argument("--slowness", type=float, default=20.0, help="of stage 3")
    parser.add_argument("--budget-mb", type=float, default=64.0, help="of the store's part")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    results: dict[str, Any] = {}
    for part in given.only:
        results[part] = PARTS[part](given)
        print(f"{part}: {results[part]}", flush=True)
    report({**results, "limits": {"growth_bytes": GOAL_GROWTH_BYTES}}, given)


def coordinator(given: argparse.Namespace) -> dict[str, Any]:
    options = {"batch_size": given.block, "pools": parse_pools("1-3 threads=1")}
    seconds, resident = _run(options, None, given.images, InstantActor, _resident_bytes)
    first_minute = resident[min(60, len(resident) - 1)]
    return {
        "images": given.images,
        "images_per_second": given.images / seconds,
        "seconds": seconds,
        "resident_bytes_after_a_minute": first_minute,
        "resident_bytes_at_the_end": resident[-1],
        "growth_bytes": resident[-1] - first_minute,
        "resident_bytes_every_20_s": resident[::20],
    }


def store(given: argparse.Namespace) -> dict[str, Any]:
    pools = parse_pools("1 threads=1 | 2 threads=1 | 3 threads=1")
    options = {"pools": pools, "memory_gb": given.budget_mb / 1000}
    actor = SlowActor.slowed(given.slowness)
    full_depth = (FULL_DEPTH, FULL_DEPTH)
    seconds, samples = _run(options, full_depth, given.store_images, actor, _store_bytes)
    return {
        "images": given.store_images,
        "seconds": seconds,
        "slowness": given.slowness,
        "budget_bytes": given.budget_mb * 1e6,
        "peak_store_bytes": max(in_use for in_use, _ in samples),
        "spilled_bytes": max(spilled for _, spilled in samples),
    }


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "coordinator": coordinator,
    "store": store,
}


def _run(
    options: dict[str, Any],
    thresholds: tuple[float, ...] | None,
    num_images: int,
    cascade_actor: type,
    sample: Callable[[], Any],
) -> tuple[float, list[Any]]:
    """Runs the shipped model on noise; returns the seconds, and a sample per second."""
    model = dvt.load_cascade("shapes")
    side = model.spec.image_size
    noise = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder, running_ray(_LOGICAL_CPUS):
        settings = TagSettings(
            input=("synthetic",), out=f"{folder}/out", model="shapes", decoders=1, **options
        )
        run = SyntheticRun(settings, model, thresholds, "float32")
        source = open_archive([folder])
        specs = actor_pool_specs(settings, run.plan, source, run.ledger.tag_writer, cascade_actor)
        decoder = actor_kind(
            "decoder", PixelActor, lambda images: np.repeat(noise, len(images), 0), num_cpus=1
        )
        with _sampled_each_second(sample) as samples:
            seconds = run.execute(_records(num_images), replace(specs, decoders=PoolSpec(decoder)))
        assert run.ledger.totals.this_run.num_tagged == num_images, "an image is missing"
    return seconds, samples


def _records(num_images: int) -> Iterator[ImageRecord]:
    for number in range(num_images):
        name = f"folder-{number // 10_000:06d}/image-{number:012d}.jpg"
        yield ImageRecord(key=name, uri=f"file:///archive/{name}", size_bytes=number)


@contextmanager
def _sampled_each_second(sample: Callable[[], Any]) -> Iterator[list[Any]]:
    """Yields a list that a thread extends."""
    samples, done = [sample()], threading.Event()

    def extend() -> None:
        while not done.wait(1.0):
            samples.append(sample())

    thread = threading.Thread(target=extend, daemon=True)
    thread.start()
    yield samples
    done.set()
    thread.join()
    samples.append(sample())


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def _store_bytes() -> tuple[int, int]:
    """Bytes in use, and bytes spilled so far."""
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    stats = get_memory_info_reply(state).store_stats
    return int(stats.object_store_bytes_used), int(stats.spilled_bytes_total)


if __name__ == "__main__":
    main()
