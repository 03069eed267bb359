"""This engine: its coordinator, scheduler, cascade actor, writer and tables, as `dvt tag` has them.

Only what reads files is another: the actor that decodes takes pixels out of the archive's array.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

import dvt
from benchmarks.ways.in_process import answered
from benchmarks.ways.workload import Answered, Workload
from pipeline.output.layout import Output
from pipeline.output.ledger import Ledger
from pipeline.output.results import Results
from pipeline.pools import parse_pools
from pipeline.progress import Progress
from pipeline.records import TAGS_SCHEMA, ImageRecord
from pipeline.runtime.actor_pools import ActorPoolSpecs, PoolSpec
from pipeline.runtime.actors.cascade import CascadeActor
from pipeline.runtime.actors.decode import DecodedBlock, DecodeResult
from pipeline.runtime.actors.write import WriteActor
from pipeline.runtime.coordinator import Coordinator
from pipeline.runtime.resource_plan import plan_job
from pipeline.runtime.run_record import new_run_file
from pipeline.runtime.supervised_actor import ActorKind
from pipeline.runtime.worklist import Worklist
from pipeline.scheduling import Scheduler
from pipeline.settings import TagSettings
from pipeline.sources.sharding import cut_shards

__all__ = ["run_engine"]

_INFO_SCHEMA = pa.schema(
    [TAGS_SCHEMA.field(name) for name in ("key", "uri", "width", "height", "etag", "shard")]
)


class PixelActor:
    """Stands in for the decode actor: its images are rows of an array on disk."""

    def __init__(self, work: Workload) -> None:
        self._work = work

    def reset(self) -> str:
        """Returns the name of its node once the actor is up."""
        return str(ray.get_runtime_context().get_node_id())

    @ray.method(num_returns=2)
    def decode(self, images: list[ImageRecord], shard: str) -> tuple[DecodedBlock, DecodeResult]:
        """One block; its images lie side by side."""
        first = int(images[0].key)
        pixels = self._work.rows(first, first + len(images))
        side = pixels.shape[1]
        info = [
            {"key": image.key, "uri": image.uri, "width": side, "height": side, "shard": shard}
            for image in images
        ]
        table = pa.Table.from_pylist(info, schema=_INFO_SCHEMA)
        return DecodedBlock(pixels, table), DecodeResult(list(range(len(images))), [])


def run_engine(
    work: Workload, thresholds: tuple[float, ...], out: Path, pools: str | None = None
) -> Answered:
    """The clock runs from actors that are up to the last commit.

    Args:
        work: the archive and the model.
        thresholds: one for each exit, the last taking everything.
        out: folder for the output, which must not exist.
        pools: as for `dvt tag`; None for one with all stages.
    """
    model = dvt.load_model(work.cascade)
    config = model.config
    settings = TagSettings(
        input=("pixels",),
        out=str(out),
        model=str(work.cascade),
        batch_size=work.batch_size,
        pools=None if pools is None else parse_pools(pools),
    )
    plan = plan_job(settings, config, thresholds, work.dtype)
    output = Output(out)
    output.claim(new_run_file(settings, (str(work.pixels),), model, thresholds), overwrite=False)
    tables = output.tables()
    ledger = Ledger(*tables, dvt.gmacs_per_exit(config), "benchmark")
    decoder = _start(PixelActor, work)
    # The cores are divided among the pools, as they would be among the machines of a cluster.
    threads = max(1, work.num_threads // len(plan.pools))
    cascades = [
        _start(CascadeActor, settings, replace(pool, num_threads=threads), plan.thresholds)
        for pool in plan.pools
    ]
    writer = _start(WriteActor, ledger.tag_writer)
    _warm_up(decoder, cascades, work)
    ray.get(writer.reset.remote())
    specs = ActorPoolSpecs(
        decoders=PoolSpec(ActorKind("decoder", lambda: decoder)),
        pools=tuple(
            PoolSpec(ActorKind(pool.name, lambda actor=actor: actor))  # type: ignore[misc]
            for pool, actor in zip(plan.pools, cascades, strict=True)
        ),
        writer=ActorKind("writer", lambda: writer),
    )
    coordinator = Coordinator(
        Scheduler(plan.limits),
        specs,
        Worklist(_shards(work, ledger), ledger, lambda: work.num_images),
        Results(ledger, config.num_stages),
        _ignore,
    )
    started = time.perf_counter()
    coordinator.run()
    seconds = time.perf_counter() - started
    for actor in (decoder, *cascades, writer):
        ray.kill(actor)
    output.release()
    tags = tables[0].scan(["key", "label_id", "exit_stage"])
    keys = np.array([int(key) for key in tags["key"].to_pylist()])
    return answered(seconds, keys, tags["label_id"].to_numpy(), tags["exit_stage"].to_numpy())


def _start(kind: type, *arguments: object) -> Any:
    remote: Any = ray.remote(kind)
    return remote.options(num_cpus=0.5, max_restarts=-1, max_task_retries=0).remote(*arguments)


def _warm_up(decoder: Any, cascades: list[Any], work: Workload) -> None:
    """A batch that every stage computes; `reset`, which the coordinator begins with, forgets it."""
    rows: NDArray[np.int64] = np.arange(work.batch_size)
    data, _ = decoder.decode.remote(list(_records(work))[: work.batch_size], "")
    for actor in cascades:
        ray.get(actor.reset.remote())
        _, going_on, _ = actor.run.remote(0, rows, data)
        _, flushed, result = actor.flush.remote()
        # With thresholds of any kind some images go on; where none do, there is nothing to warm.
        data = flushed if ray.get(result).forwarded else going_on
        if ray.get(data) is None:
            return
        rows = np.arange(len(ray.get(data).pixels))


def _records(work: Workload) -> Iterator[ImageRecord]:
    for number in range(work.num_images):
        yield ImageRecord(key=f"{number:08d}", uri=f"pixels:{number}", size_bytes=0)


def _shards(work: Workload, ledger: Ledger) -> Iterator[tuple[int, NDArray[np.int64]]]:
    yield from map(ledger.open, cut_shards(_records(work)))


def _ignore(progress: Progress) -> None:
    pass
