"""Cascade actors that fail for real, and a run in this process with them."""

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import dvt
from dvt.inference import StageExecutor
from pipeline.deadline.controller import DeadlineController
from pipeline.output.layout import Output
from pipeline.output.ledger import Ledger
from pipeline.output.results import Results
from pipeline.runtime.actors.cascade import CascadeActor
from pipeline.runtime.ray_session import running_ray
from pipeline.runtime.resource_plan import Plan, plan_job
from pipeline.runtime.run_record import new_run_file
from pipeline.scheduling import Scheduler
from pipeline.settings import TagSettings
from pipeline.sources import open_archive
from pipeline.sources.listing import ShardListing
from pipeline.sources.sharding import cut_shards

__all__ = ["Hangs", "HasLittleMemory", "Kills", "Raises", "Running", "Slow", "hooked", "run_with"]

MARKER = "DVT_TEST_MARKER"
_ROOM_BYTES = 200 * 2**20


def hooked(
    hook: Callable[[Tensor], None],
) -> Callable[[dvt.Model, torch.device, torch.dtype], StageExecutor]:
    """Makes executors whose stages pass each batch to a hook first."""

    def make(model: dvt.Model, device: torch.device, dtype: torch.dtype) -> StageExecutor:
        assert isinstance(model, dvt.Cascade)
        for stage in model.stages:
            stage.register_forward_pre_hook(lambda _, inputs: hook(inputs[0]))
        return model.make_executor(device, dtype)

    return make


def _has_flat_picture(images: Tensor) -> bool:
    return bool((images.flatten(2).std(dim=-1) < 1e-6).all(dim=1).any())


def _raise_on_flat(images: Tensor) -> None:
    if _has_flat_picture(images):
        raise RuntimeError("no kernel for pictures of one colour")


def _kill_on_flat(images: Tensor) -> None:
    if _has_flat_picture(images):
        os.kill(os.getpid(), signal.SIGKILL)


def _hang_once(images: Tensor) -> None:
    try:
        Path(os.environ[MARKER]).touch(exist_ok=False)
    except FileExistsError:
        return
    time.sleep(3600)


def _take_a_second(images: Tensor) -> None:
    time.sleep(1.0)


def _allocate_much(images: Tensor) -> None:
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    now = pages * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + _ROOM_BYTES, limits[1]))
    try:
        torch.empty(len(images) * _ROOM_BYTES // 10, dtype=torch.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


class Raises(CascadeActor):
    """Raises on a picture of one colour."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, executor=hooked(_raise_on_flat))


class Kills(CascadeActor):
    """Dies on a picture of one colour."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, executor=hooked(_kill_on_flat))


class Hangs(CascadeActor):
    """The first batch of the whole run takes an hour."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, executor=hooked(_hang_once))


class Slow(CascadeActor):
    """Every batch takes a second."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, executor=hooked(_take_a_second))


class HasLittleMemory(CascadeActor):
    """The system refuses the memory that a batch of more than eight needs."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, executor=hooked(_allocate_much))


@dataclass
class Running:
    """A run, as seen between two of its shards.

    Attributes:
        scheduler: of the run.
        handles: Ray's handles of the cascade actors, in the order of their start.
    """

    scheduler: Scheduler
    handles: list[Any] = field(default_factory=list)


def run_with(
    actor: type[CascadeActor],
    settings: TagSettings,
    num_cpus: int = 4,
    goes_on: Callable[[Running], bool] = lambda running: True,
    thresholds: Sequence[float] | None = None,
    decoder_options: dict[str, object] | None = None,
    make_deadline: Callable[[Output, Plan], DeadlineController] | None = None,
) -> DeadlineController | None:
    """Runs a whole job in this process.

    Args:
        actor: class of the cascade actors.
        settings: of the job.
        num_cpus: lower bound of the cluster's processors.
        goes_on: the listing pauses in the middle of each shard until this is true.
        thresholds: None for those of the model.
        decoder_options: for Ray, where it starts the decoders.
        make_deadline: makes the run's deadline, once Ray is up; its result is returned.
    """
    model = dvt.load_model(settings.model)
    exit_thresholds = model.thresholds(thresholds)
    plan = plan_job(settings, model.spec, exit_thresholds, "float32")
    source = open_archive(settings.input)
    output = Output(settings.out)
    output.claim(new_run_file(settings, source.names, model, exit_thresholds), overwrite=False)
    ledger = Ledger(output.tables(), model.spec.gmacs_per_exit, "test")
    running = Running(Scheduler(plan.limits))

    def work() -> Iterator[tuple[int, NDArray[np.int64]] | None]:
        for shard in cut_shards(source.list_images()):
            number, rows = ledger.open(shard)
            yield number, rows[: len(rows) // 2]
            while not goes_on(running):
                yield None
            yield number, rows[len(rows) // 2 :]

    with running_ray(max(num_cpus, plan.num_cpus)):
        from pipeline.runtime.actor_pools import PoolSpec
        from pipeline.runtime.actors.decode import DecodeActor
        from pipeline.runtime.coordinator import Coordinator
        from pipeline.runtime.launch import actor_kind, actor_pool_specs
        from pipeline.runtime.supervised_actor import ActorKind
        from pipeline.runtime.worklist import Worklist

        def recorded(kind: ActorKind) -> ActorKind:
            def start() -> Any:
                running.handles.append(kind.start())
                return running.handles[-1]

            return ActorKind(kind.name, start)

        specs = actor_pool_specs(settings, plan, source, ledger.tag_writer, actor)
        pools = tuple(replace(spec, kind=recorded(spec.kind)) for spec in specs.pools)
        specs = replace(specs, pools=pools)
        if decoder_options is not None:
            kind = actor_kind(
                "decoder", DecodeActor, source.fetcher, plan.decode, num_cpus=1, **decoder_options
            )
            specs = replace(specs, decoders=PoolSpec(kind))
        deadline = None if make_deadline is None else make_deadline(output, plan)
        Coordinator(
            running.scheduler,
            specs,
            Worklist(work(), ledger, ShardListing(source)),
            Results(ledger, model.spec.num_stages),
            lambda progress: None,
            deadline=deadline,
        ).run()
    assert ledger.is_complete
    output.release()
    return deadline
