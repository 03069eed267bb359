"""The part of a job that runs on Ray; imported inside `running_ray`."""

import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from pipeline.actors.cascade import CascadeActor
from pipeline.actors.decode import DecodeActor
from pipeline.actors.write import WriteActor
from pipeline.coordinator import Actors, Coordinator
from pipeline.ledger import Ledger
from pipeline.placement import Plan
from pipeline.progress import ProgressListener
from pipeline.scheduling import Scheduler
from pipeline.settings import TagSettings
from pipeline.sources import Source

__all__ = ["run_on_ray"]


def run_on_ray(
    settings: TagSettings,
    source: Source,
    plan: Plan,
    ledger: Ledger,
    work: Iterator[tuple[int, NDArray[np.int64]]],
    listener: ProgressListener,
) -> None:
    """Starts the actors and works until everything is committed."""

    def actor(kind: type, num_cpus: float, num_gpus: float, *arguments: object) -> Any:
        # Ray repeats no work by itself: what to do after a loss is for the scheduler to decide.
        remote: Any = ray.remote(kind)
        return remote.options(
            num_cpus=num_cpus, num_gpus=num_gpus, max_restarts=-1, max_task_retries=0
        ).remote(*arguments)

    # The cascade first: it has the longest start.
    cascade = actor(CascadeActor, plan.cascade.num_threads, plan.num_gpus, plan.cascade)
    actors = Actors(
        decoders=[
            actor(DecodeActor, 1, 0, source.fetcher, plan.decode) for _ in range(plan.num_decoders)
        ],
        cascades=[cascade],
        writer=actor(WriteActor, 0, 0, settings.out.resolve() / "tags"),
    )
    count = _CountedImages(source)
    coordinator = Coordinator(
        Scheduler(plan.limits),
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
    return None if num_images is None else math.floor(limit * num_images + 1e-9)
