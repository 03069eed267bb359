"""The part of a job that runs on Ray. Import it inside `running_ray`."""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import dvt
from pipeline.cascade.tag_rows import tag_classes
from pipeline.deadline.controller import DeadlineController
from pipeline.dedupe.fanout import PredictionFanout
from pipeline.output.ledger import Ledger
from pipeline.output.parquet_files import FileWriter
from pipeline.output.results import Results
from pipeline.progress import ProgressListener
from pipeline.runtime.actor_pools import ActorPoolSpecs, PoolSpec
from pipeline.runtime.actors.cascade import CascadeActor
from pipeline.runtime.actors.decode import DecodeActor
from pipeline.runtime.actors.write import WriteActor
from pipeline.runtime.coordinator import Coordinator
from pipeline.runtime.nodes import this_node
from pipeline.runtime.resource_plan import Plan
from pipeline.runtime.supervised_actor import ActorKind
from pipeline.runtime.worklist import Worklist
from pipeline.scheduling import Scheduler
from pipeline.settings import TagSettings
from pipeline.sources import Archive

__all__ = ["actor_kind", "actor_pool_specs", "run_on_ray"]


def run_on_ray(
    settings: TagSettings,
    source: Archive,
    model: dvt.Model,
    plan: Plan,
    ledger: Ledger,
    worklist: Worklist,
    listener: ProgressListener,
    deadline: DeadlineController | None = None,
) -> None:
    """Starts the actors and works until every image is committed.

    Args:
        settings: of the job.
        source: of the images.
        model: loaded.
        plan: of the job.
        ledger: of the output.
        worklist: of the archive.
        listener: receives progress.
        deadline: chooses the thresholds of each call; None uses those of the plan.

    Raises:
        PipelineError: see `Coordinator.run`.
    """
    results = Results(ledger, model.spec.num_stages)
    fanout = None
    if settings.dedupe:
        classes = tag_classes(model, settings.sure_of)
        fanout = PredictionFanout(ledger, results, classes, source.kept)
    Coordinator(
        Scheduler(plan.limits),
        actor_pool_specs(settings, plan, source, ledger.tag_writer),
        worklist,
        results,
        listener,
        fanout,
        deadline,
    ).run()


def actor_pool_specs(
    settings: TagSettings,
    plan: Plan,
    source: Archive,
    writer: FileWriter,
    cascade_actor: type = CascadeActor,
) -> ActorPoolSpecs:
    """The actors of a plan, not started yet.

    Args:
        settings: of the job.
        plan: of the job.
        source: of the images.
        writer: of the `tags` table.
        cascade_actor: class of the cascade actors; tests pass one that fails.
    """
    # On the coordinator's node, which commits the files that the writer writes.
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
        stalled_s=settings.stalled_s,
    )


def actor_kind(name: str, actor: type, *arguments: object, **options: object) -> ActorKind:
    """A class of actors with the arguments and Ray options to start them.

    Ray restarts them but repeats no call; the scheduler decides what is done again.
    """
    remote: Any = ray.remote(actor)
    remote = remote.options(max_restarts=-1, max_task_retries=0, **options)
    return ActorKind(name, lambda: remote.remote(*arguments))
