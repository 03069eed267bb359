"""Tagging one archive: puts source, model, output, scheduler and actors together."""

import itertools
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import dvt
from dvt.checkpoint import model_digest
from dvt.device import best_device, inference_dtype
from dvt.exits import FULL_DEPTH
from pipeline.cascade_runner import CascadeSettings
from pipeline.cluster import running_ray
from pipeline.decode import DecodeSettings
from pipeline.errors import UsageError
from pipeline.ledger import Ledger, Tally
from pipeline.output import ModelIdentity, Output, RunFile, Summary
from pipeline.progress import ProgressListener
from pipeline.scheduler import Limits, Scheduler
from pipeline.shards import cut_shards
from pipeline.sources import Source, open_source

__all__ = ["TagSettings", "tag_archive"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TagSettings:
    """What to tag, with what, and where to.

    Attributes:
        source: a folder of images.
        out: the output folder.
        model: a shipped name, a checkpoint folder, or a published `.pth.tar`.
        thresholds: one for each exit but the last; None for the model's own.
        full_depth: no early exits.
        batch_size: images per forward pass.
        top_k: labels named per image.
        max_dead_letters: how many images may fail: a number, or a share of the archive; None for
            any number.
        overwrite: remove earlier results first.
        num_decoders: decode actors; None lets the machine decide.
        memory_budget_bytes: of decoded pixels in flight.
    """

    source: str
    out: Path
    model: str
    thresholds: tuple[float, ...] | None = None
    full_depth: bool = False
    batch_size: int = 64
    top_k: int = 5
    max_dead_letters: int | float | None = None
    overwrite: bool = False
    num_decoders: int | None = None
    memory_budget_bytes: int = 2**30


def tag_archive(settings: TagSettings, listener: ProgressListener) -> Summary:
    """Tags every image of the archive that has no result yet.

    Returns:
        What this run did; `summary.json` in the output has the totals of all runs.

    Raises:
        UsageError: the job cannot be run as asked; nothing was changed.
        ModelError: the model or its thresholds are unusable.
        PipelineError: it was stopped; what is committed stays, the same call continues.
    """
    source = open_source(settings.source, exclude=settings.out)
    model = dvt.load_model(settings.model)
    config = model.config
    gmacs = dvt.gmacs_per_exit(config)
    full_depth = [FULL_DEPTH] * (config.num_stages - 1)
    thresholds = model.thresholds(full_depth if settings.full_depth else settings.thresholds)
    if next(source.list_images(), None) is None:
        raise UsageError(f"input: no images in {settings.source}")
    run = _run_file(settings, source, model, thresholds)
    output = Output(settings.out)
    output.claim(run, settings.overwrite)
    ledger = Ledger(*output.tables(), gmacs, run.run)
    work = _work(source, ledger)
    first = next(work, None)
    seconds = 0.0
    if first is not None:
        output.reopen()
        work = itertools.chain([first], work)
        plan = _plan(settings, config, thresholds, run.dtype)
        started = time.monotonic()
        with running_ray(plan.num_cpus):
            _run_on_ray(settings, source, plan, ledger, work, listener)
            seconds = time.monotonic() - started
    else:
        ledger.commit(None, [], {})  # a crash may have left finished shards unrecorded
    assert ledger.is_complete, "the coordinator ended with open shards"
    totals = ledger.totals
    out = str(settings.out)
    output.complete(
        _summary(totals.all_runs, totals.num_images, 0, gmacs, ledger.seconds_of_all_runs, out)
    )
    return _summary(totals.this_run, totals.num_images, totals.num_skipped, gmacs, seconds, out)


def _work(source: Source, ledger: Ledger) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Shards with something left to do; finished ones are only counted."""
    for shard in cut_shards(source.list_images()):
        number, rows = ledger.open(shard)
        if len(rows):
            yield number, rows


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything that the actors and the coordinator need, decided before Ray starts."""

    decode: DecodeSettings
    cascade: CascadeSettings
    limits: Limits
    num_cpus: int
    num_decoders: int
    num_gpus: int


def _plan(
    settings: TagSettings, config: dvt.CascadeConfig, thresholds: tuple[float, ...], dtype: str
) -> _Plan:
    """Divides the machine: decoders times one thread, and the cascade's threads, fill the cores."""
    device = best_device().type
    num_cpus = os.cpu_count() or 1
    num_threads = 1 if device == "cuda" else max(1, num_cpus // 2)
    path = Path(settings.model)
    return _Plan(
        decode=DecodeSettings(
            resize=config.preprocess.resize,
            crop=config.image_size,
            interpolation=config.preprocess.interpolation,
        ),
        cascade=CascadeSettings(
            model=str(path.resolve()) if path.exists() else settings.model,
            thresholds=thresholds,
            batch_size=settings.batch_size,
            top_k=settings.top_k,
            num_threads=num_threads,
            device=device,
            dtype=dtype,
        ),
        limits=Limits(
            parcel_length=settings.batch_size,
            bytes_per_image=config.image_size**2 * 3,
            budget_bytes=settings.memory_budget_bytes,
        ),
        num_cpus=num_cpus,
        num_decoders=settings.num_decoders or max(1, num_cpus - num_threads),
        num_gpus=1 if device == "cuda" else 0,
    )


def _run_on_ray(
    settings: TagSettings,
    source: Source,
    plan: _Plan,
    ledger: Ledger,
    work: Iterator[tuple[int, NDArray[np.int64]]],
    listener: ProgressListener,
) -> None:
    """Starts the actors and works until everything is committed."""
    import ray

    from pipeline.actors.cascade import CascadeActor
    from pipeline.actors.decode import DecodeActor
    from pipeline.actors.write import WriteActor
    from pipeline.coordinator import Actors, Coordinator

    def actor(kind: type, num_cpus: float, num_gpus: float, *arguments: object) -> Any:
        # Ray repeats no work by itself: what to do after a loss is for the scheduler to decide.
        remote: Any = ray.remote(kind)
        return remote.options(
            num_cpus=num_cpus, num_gpus=num_gpus, max_restarts=-1, max_task_retries=0
        ).remote(*arguments)

    actors = Actors(
        decoders=[
            actor(DecodeActor, 1, 0, source.fetcher, plan.decode) for _ in range(plan.num_decoders)
        ],
        cascades=[actor(CascadeActor, plan.cascade.num_threads, plan.num_gpus, plan.cascade)],
        writer=actor(WriteActor, 0, 0, settings.out.resolve() / "tags"),
    )
    count = _CountedImages(source)
    coordinator = Coordinator(
        Scheduler(plan.limits, plan.num_decoders, len(actors.cascades)),
        actors,
        ledger,
        work,
        len(plan.cascade.thresholds),
        lambda: _allowed_dead_letters(settings.max_dead_letters, count()),
        count,
        listener,
    )
    coordinator.run()


class _CountedImages:
    """Counts the archive beside the work, for the time to go and for shares of it."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._total: int | None = None
        threading.Thread(target=self._count, daemon=True, name="count-images").start()

    def _count(self) -> None:
        self._total = sum(1 for _ in self._source.list_images())

    def __call__(self) -> int | None:
        return self._total


def _allowed_dead_letters(limit: int | float | None, num_images: int | None) -> int | None:
    """The limit as a number of images; a share means nothing before the archive is counted."""
    if limit is None or isinstance(limit, int):
        return limit
    return None if num_images is None else int(limit * num_images)


def _run_file(
    settings: TagSettings, source: Source, model: dvt.Cascade, thresholds: tuple[float, ...]
) -> RunFile:
    config = model.config
    device = best_device()
    names = {"dvt": "dvt-pipeline", "torch": "torch", "ray": "ray", "deltalake": "deltalake"}
    return RunFile(
        run=f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}",
        inputs=(source.name,),
        model=ModelIdentity(
            name=config.name,
            digest=model_digest(model),
            num_classes=config.num_classes,
            grids=tuple(grid.size for grid in config.grids),
            gmacs_per_exit=dvt.gmacs_per_exit(config),
        ),
        thresholds=thresholds[:-1],
        top_k=settings.top_k,
        dtype=str(inference_dtype(device)).removeprefix("torch."),
        batch_size=settings.batch_size,
        versions={key: version(name) for key, name in names.items()},
        hardware={
            "cpu": _processor(),
            "num_cpus": os.cpu_count() or 1,
            "gpus": [
                torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
            ],
        },
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _processor() -> str:
    """The processor's name; Linux tells it only here."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _summary(
    tally: Tally,
    num_images: int,
    num_skipped: int,
    gmacs: tuple[float, ...],
    seconds: float,
    out: str,
) -> Summary:
    spent = float(tally.exits @ np.array(gmacs))
    return Summary(
        images=num_images,
        tagged=tally.num_tagged,
        dead_letters=tally.num_dead_letters,
        skipped=num_skipped,
        exits=tuple(tally.exits.tolist()),
        gmacs_per_image=spent / tally.num_tagged if tally.num_tagged else None,
        gmacs_full_depth=gmacs[-1],
        seconds=round(seconds, 3),
        images_per_second=round(tally.num_done / seconds, 3) if seconds > 0 else None,
        out=out,
    )
