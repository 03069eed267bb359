"""What a run keeps in memory: the coordinator over millions of images, and the object store.

    python -m benchmarks.memory --out benchmarks/results/memory.json

    coordinator   an archive of `--images`, listed, scheduled, answered and committed by the real
                  coordinator, scheduler, writer and tables; pixels and answers are made up. Its
                  resident memory after the first minute and at the end
    store         pools "1 | 2 | 3" of the shipped model, every image through all stages, stage 3
                  slowed `--slowness` times: bytes in the object store, bytes spilled to disk

`--only` chooses parts.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray

import dvt
from benchmarks.reporting import report
from benchmarks.ways.made_up import AnsweringActor, PixelActor, SlowActor
from dvt.exits import FULL_DEPTH
from pipeline.output.layout import Output
from pipeline.output.ledger import Ledger
from pipeline.pools import parse_pools
from pipeline.records import ImageRecord
from pipeline.runtime.ray_session import running_ray
from pipeline.runtime.resource_plan import plan_job
from pipeline.runtime.run_record import new_run_file
from pipeline.settings import TagSettings
from pipeline.sources.sharding import cut_shards

GOAL_GROWTH_BYTES = 100e6


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--images", type=int, default=2_000_000, help="of the coordinator's part")
    parser.add_argument("--block", type=int, default=256, help="images in a block there")
    parser.add_argument("--store-images", type=int, default=6_000)
    parser.add_argument("--slowness", type=float, default=20.0, help="of stage 3")
    parser.add_argument("--budget-mb", type=float, default=64.0, help="of the store's part")
    parser.add_argument("--out", type=Path, help="keep the results in this file too")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    figures: dict[str, Any] = {}
    for part in given.only:
        figures[part] = PARTS[part](given)
        print(f"{part}: {figures[part]}", flush=True)
    report({**figures, "limits": {"growth_bytes": GOAL_GROWTH_BYTES}}, given)


def coordinator(given: argparse.Namespace) -> dict[str, Any]:
    settings = TagSettings(
        input=("made-up",),
        out="",
        model="shapes",
        batch_size=given.block,
        pools=parse_pools("1-3 threads=1"),
        decoders=1,
    )
    resident: list[int] = []
    seconds = _run(settings, None, given.images, AnsweringActor, _resident_bytes, resident)
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
    settings = TagSettings(
        input=("made-up",),
        out="",
        model="shapes",
        pools=parse_pools("1 threads=1 | 2 threads=1 | 3 threads=1"),
        decoders=1,
        memory_gb=given.budget_mb / 1000,
    )
    used: list[tuple[int, int]] = []
    actor = SlowActor.slowed(given.slowness)
    full_depth = [FULL_DEPTH, FULL_DEPTH]
    seconds = _run(settings, full_depth, given.store_images, actor, _store_bytes, used)
    return {
        "images": given.store_images,
        "seconds": seconds,
        "slowness": given.slowness,
        "budget_bytes": given.budget_mb * 1e6,
        "peak_store_bytes": max(in_use for in_use, _ in used),
        "spilled_bytes": max(spilled for _, spilled in used),
    }


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "coordinator": coordinator,
    "store": store,
}


def _run(
    settings: TagSettings,
    thresholds: Sequence[float] | None,
    num_images: int,
    cascade_actor: type,
    look: Callable[[], Any],
    seen: list[Any],
) -> float:
    """A whole run on made-up pixels; `look` is asked once a second."""
    from dataclasses import replace

    model = dvt.load_model(settings.model)
    exit_thresholds = model.thresholds(thresholds)
    plan = plan_job(settings, model.config, exit_thresholds, "float32")
    with tempfile.TemporaryDirectory() as folder, running_ray(plan.num_cpus):
        from pipeline.output.results import Results
        from pipeline.runtime.actor_pools import PoolSpec
        from pipeline.runtime.coordinator import Coordinator
        from pipeline.runtime.launch import actor_kind, actor_pool_specs
        from pipeline.runtime.worklist import Worklist
        from pipeline.scheduling import Scheduler
        from pipeline.sources import open_archive

        settings = settings.model_copy(update={"out": str(Path(folder) / "out")})
        output = Output(settings.out)
        output.claim(new_run_file(settings, ("made-up",), model, exit_thresholds), overwrite=False)
        ledger = Ledger(*output.tables(), dvt.gmacs_per_exit(model.config), "memory")
        source = open_archive([folder])
        specs = actor_pool_specs(settings, plan, source, ledger.tag_writer, cascade_actor)
        decoder = actor_kind("decoder", PixelActor, model.config.image_size, num_cpus=1)
        shards = (ledger.open(shard) for shard in cut_shards(_records(num_images)))
        coordinator = Coordinator(
            Scheduler(plan.limits),
            replace(specs, decoders=PoolSpec(decoder)),
            Worklist(shards, ledger),
            Results(ledger, model.config.num_stages),
            lambda progress: None,
        )
        done = threading.Event()
        watch = threading.Thread(target=_watch, args=(look, seen, done), daemon=True)
        watch.start()
        started = time.perf_counter()
        coordinator.run()
        seconds = time.perf_counter() - started
        done.set()
        watch.join()
        assert ledger.totals.this_run.num_tagged == num_images, "an image is missing"
        output.release()
    return seconds


def _records(num_images: int) -> Iterator[ImageRecord]:
    for number in range(num_images):
        name = f"folder-{number // 10_000:06d}/image-{number:012d}.jpg"
        yield ImageRecord(key=name, uri=f"file:///archive/{name}", size_bytes=number)


def _watch(look: Callable[[], Any], seen: list[Any], done: threading.Event) -> None:
    while True:
        seen.append(look())
        if done.wait(1.0):
            seen.append(look())
            return


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096


def _store_bytes() -> tuple[int, int]:
    """In use and spilled so far."""
    from ray._private.internal_api import get_memory_info_reply, get_state_from_address

    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    stats = get_memory_info_reply(state).store_stats
    return int(stats.object_store_bytes_used), int(stats.spilled_bytes_total)


if __name__ == "__main__":
    main()
