"""This engine as in `dvt tag`, except that pixels come from an array instead of files."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

import dvt
from benchmarks.contenders.in_process import measured
from benchmarks.contenders.workload import Measured, Workload
from benchmarks.synthetic import PixelActor, SyntheticRun
from pipeline.pools import parse_pools
from pipeline.records import ImageRecord
from pipeline.runtime.actor_pools import ActorPoolSpecs, PoolSpec
from pipeline.runtime.actors.cascade import CascadeActor
from pipeline.runtime.actors.write import WriteActor
from pipeline.runtime.supervised_actor import ActorKind
from pipeline.settings import TagSettings

__all__ = ["run_engine"]


def run_engine(
    work: Workload, thresholds: tuple[float, ...], out: Path, pools: str | None = None
) -> Measured:
    """Measures from warm actors to the last commit.

    Args:
        work: the archive and the model.
        thresholds: one for each exit; the last takes everything.
        out: folder for the output, which must not exist.
        pools: as in `dvt tag`; None for one pool with all stages.
    """
    settings = TagSettings(
        input=(str(work.pixels),),
        out=str(out),
        model=str(work.cascade),
        batch_size=work.batch_size,
        pools=None if pools is None else parse_pools(pools),
    )
    run = SyntheticRun(settings, dvt.load_cascade(work.cascade), thresholds[:-1], work.dtype)
    plan = run.plan
    decoder = _start(PixelActor, lambda images: _pixels(work, images))
    # The cores are divided among the pools, as they would be among the machines of a cluster.
    threads = max(1, work.num_threads // len(plan.pools))
    cascades = [
        _start(CascadeActor, settings, replace(pool, num_threads=threads), plan.thresholds)
        for pool in plan.pools
    ]
    writer = _start(WriteActor, run.ledger.tag_writer)
    _warm_up(decoder, cascades, work)
    ray.get(writer.reset.remote())

    def started(name: str, actor: Any) -> ActorKind:
        return ActorKind(name, lambda: actor)

    specs = ActorPoolSpecs(
        decoders=PoolSpec(started("decoder", decoder)),
        pools=tuple(
            PoolSpec(started(pool.name, actor))
            for pool, actor in zip(plan.pools, cascades, strict=True)
        ),
        writer=started("writer", writer),
    )
    seconds = run.execute(_records(work), specs)
    for actor in (decoder, *cascades, writer):
        ray.kill(actor)
    tags = run.tags(["key", "label_id", "exit_stage"])
    keys = np.array([int(key) for key in tags["key"].to_pylist()])
    return measured(seconds, keys, tags["label_id"].to_numpy(), tags["exit_stage"].to_numpy())


def _pixels(work: Workload, images: list[ImageRecord]) -> NDArray[np.uint8]:
    """Pixels of a block; its images are adjacent."""
    first = int(images[0].key)
    return work.rows(first, first + len(images))


def _start(kind: type, *arguments: object) -> Any:
    remote: Any = ray.remote(kind)
    return remote.options(num_cpus=0.5, max_restarts=-1, max_task_retries=0).remote(*arguments)


def _warm_up(decoder: Any, cascades: list[Any], work: Workload) -> None:
    """Runs a batch through every stage; the coordinator resets the actors before it uses them."""
    rows: NDArray[np.int64] = np.arange(work.batch_size)
    data, _ = decoder.decode.remote(list(_records(work))[: work.batch_size], "")
    for actor in cascades:
        ray.get(actor.reset.remote())
        _, forwarded, _ = actor.run.remote(0, rows, data)
        _, flushed, result = actor.flush.remote()
        data = flushed if ray.get(result).forwarded else forwarded
        if ray.get(data) is None:  # no image goes on, so the next pools have nothing to do
            return
        rows = np.arange(len(ray.get(data).batch))


def _records(work: Workload) -> Iterator[ImageRecord]:
    for number in range(work.num_images):
        yield ImageRecord(key=f"{number:08d}", uri=f"pixels:{number}", size_bytes=0)
