"""The part of a job that runs on Ray; imported inside `running_ray`."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import dvt
from pipeline.cascade.tag_rows import label_names
from pipeline.deadline.controller import DeadlineController
from pipeline.dedupe.fanout import SharedAnswers
from pipeline.output.ledger import Ledger
from pipeline.output.parquet_files import FileWriter
from pipeline.progress import ProgressListener
from pipeline.runtime.actors.cascade import CascadeActor
from pipeline.runtime.actors.decode import DecodeActor
from pipeline.runtime.actors.write import WriteActor
from pipeline.runtime.coordinator import Coordinator
from pipeline.runtime.error_limit import allowed_dead_letters
from pipeline.runtime.nodes import this_node
from pipeline.runtime.resource_plan import Plan
from pipeline.runtime.supervisor import ActorKind
from pipeline.runtime.team import ActorPoolSpecs, PoolSpec
from pipeline.scheduling import Scheduler
from pipeline.settings import TagSettings
from pipeline.sources import Archive

__all__ = ["actor_kind", "actor_pool_specs", "run_on_ray"]


def run_on_ray(
    settings: TagSettings,
    source: Archive,
    model: dvt.Cascade,
    plan: Plan,
    ledger: Ledger,
    work: Iterator[tuple[int, NDArray[np.int64]] | None],
    listener: ProgressListener,
    deadline: DeadlineController | None = None,
) -> None:
    """Starts the actors and works until everything is committed."""
    count = _CountedImages(source, work, ledger)
    coordinator = Coordinator(
        Scheduler(plan.limits),
        actor_pool_specs(settings, plan, source, ledger.tag_writer),
        ledger,
        count.while_listing(),
        len(plan.thresholds),
        lambda: allowed_dead_letters(
            settings.max_errors, count(), count.num_listed, count.is_uncountable
        ),
        count,
        listener,
        settings.stalled_s,
        SharedAnswers(label_names(model), source.kept) if settings.dedupe else None,
        deadline,
    )
    coordinator.run()


def actor_pool_specs(
    settings: TagSettings,
    plan: Plan,
    source: Archive,
    writer: FileWriter,
    cascade_actor: type = CascadeActor,
) -> ActorPoolSpecs:
    """The actors that a plan asks for; none of them is started yet.

    Args:
        settings: of the job.
        plan: of the job.
        source: of the images.
        writer: of the `tags` table.
        cascade_actor: class of the pools' actors, for tests that need one that fails.
    """
    # Beside the coordinator, because it writes where that commits.
    here = NodeAffinitySchedulingStrategy(this_node(), soft=False)
    return ActorPoolSpecs(
        decoders=PoolSpec(
            actor_kind(
                "decoder",
                DecodeActor,
                source.fetcher,
                plan.decode,
                source.kept,
                settings.dedupe,
                num_cpus=1,
            ),
            plan.num_decoders,
            plan.num_decoders,
        ),
        pools=tuple(
            PoolSpec(
                actor_kind(
                    pool.name,
                    cascade_actor,
                    settings,
                    pool,
                    plan.thresholds,
                    num_cpus=pool.cpus,
                    num_gpus=pool.gpus,
                    **({"label_selector": pool.labels} if pool.labels else {}),
                ),
                pool.min_actors,
                pool.max_actors,
            )
            for pool in plan.pools
        ),
        writer=actor_kind("writer", WriteActor, writer, num_cpus=0, scheduling_strategy=here),
    )


def actor_kind(name: str, actor: type, *arguments: object, **options: object) -> ActorKind:
    """How to start actors of a class; Ray repeats no work by itself, the scheduler decides that."""
    remote: Any = ray.remote(actor)
    remote = remote.options(max_restarts=-1, max_task_retries=0, **options)
    return ActorKind(name, lambda: remote.remote(*arguments))


class _CountedImages:
    """Counts the archive beside the work, for the time to go and for shares of it.

    Args:
        source: counts itself, unless that would cost as much as reading it.
        work: gone through to the end by whoever works; then all images are listed.
        ledger: counts what is listed.
    """

    def __init__(
        self, source: Archive, work: Iterator[tuple[int, NDArray[np.int64]] | None], ledger: Ledger
    ) -> None:
        self._source = source
        self._work = work
        self._ledger = ledger
        self._total: int | None = None
        self.is_uncountable = False
        threading.Thread(target=self._count, daemon=True, name="count-images").start()

    def _count(self) -> None:
        total = self._source.count_images()
        if total is None:
            self.is_uncountable = True
        else:
            self._total = total

    def __call__(self) -> int | None:
        """How many there are; None while unknown."""
        return self._total

    @property
    def num_listed(self) -> int:
        """How many have been seen so far."""
        return self._ledger.totals.num_images

    def while_listing(self) -> Iterator[tuple[int, NDArray[np.int64]] | None]:
        """The work; behind its end, what was listed is the whole."""
        yield from self._work
        self._total = self.num_listed
