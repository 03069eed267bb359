"""Actors that fail for real on a picture of one colour, and a run in this process with them."""

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import dvt
from dvt.inference import StageExecutor
from pipeline.output.layout import Output
from pipeline.output.ledger import Ledger
from pipeline.runtime.actors.cascade import CascadeActor
from pipeline.runtime.ray_session import running_ray
from pipeline.runtime.resource_plan import plan_job
from pipeline.runtime.run_record import new_run_file
from pipeline.settings import TagSettings
from pipeline.sources import open_archive
from pipeline.sources.sharding import cut_shards

__all__ = ["Hangs", "HasLittleMemory", "Kills", "Raises", "Slow", "run_with"]

MARKER = "DVT_TEST_MARKER"
_ROOM_BYTES = 200 * 2**20


def _has_flat_picture(images: Tensor) -> bool:
    return bool((images.flatten(2).std(dim=-1) < 1e-6).all(dim=1).any())


class _Faulty(CascadeActor):
    """Looks at every batch before its stage does."""

    def _make_executor(self, model: dvt.Cascade) -> StageExecutor:
        for stage in model.stages:
            stage.register_forward_pre_hook(lambda _, inputs: self._look_at(inputs[0]))
        return super()._make_executor(model)

    def _look_at(self, images: Tensor) -> None:
        raise NotImplementedError


class Raises(_Faulty):
    def _look_at(self, images: Tensor) -> None:
        if _has_flat_picture(images):
            raise RuntimeError("no kernel for pictures of one colour")


class Kills(_Faulty):
    def _look_at(self, images: Tensor) -> None:
        if _has_flat_picture(images):
            os.kill(os.getpid(), signal.SIGKILL)


class Hangs(_Faulty):
    """Once, whoever comes first."""

    def _look_at(self, images: Tensor) -> None:
        try:
            Path(os.environ[MARKER]).touch(exist_ok=False)
        except FileExistsError:
            return
        time.sleep(3600)


class Slow(_Faulty):
    """Every batch takes a second."""

    def _look_at(self, images: Tensor) -> None:
        time.sleep(1.0)


class HasLittleMemory(_Faulty):
    """What a batch of more than eight would need is refused by the system."""

    def _look_at(self, images: Tensor) -> None:
        limits = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        now = pages * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + _ROOM_BYTES, limits[1]))
        try:
            torch.empty(len(images) * _ROOM_BYTES // 10, dtype=torch.uint8)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)


def run_with(
    actor: type[CascadeActor],
    settings: TagSettings,
    num_cpus: int = 4,
    goes_on: Callable[[], bool] = lambda: True,
    thresholds: Sequence[float] | None = None,
) -> None:
    """A whole job, its cascade actors of another class.

    Args:
        actor: the class.
        settings: of the job.
        num_cpus: at least.
        goes_on: the listing pauses in the middle of each shard until this is true.
        thresholds: None for those of the model.
    """
    model = dvt.load_model(settings.model)
    exit_thresholds = model.thresholds(thresholds)
    plan = plan_job(settings, model.config, exit_thresholds, "float32")
    source = open_archive(settings.input)
    output = Output(settings.out)
    output.claim(new_run_file(settings, source.names, model, exit_thresholds), overwrite=False)
    ledger = Ledger(*output.tables(), dvt.gmacs_per_exit(model.config), "test")

    def work() -> Iterator[tuple[int, NDArray[np.int64]] | None]:
        for shard in cut_shards(source.list_images()):
            number, rows = ledger.open(shard)
            yield number, rows[: len(rows) // 2]
            while not goes_on():
                yield None
            yield number, rows[len(rows) // 2 :]

    with running_ray(max(num_cpus, plan.num_cpus)):
        from pipeline.runtime.coordinator import Coordinator
        from pipeline.runtime.launch import actor_pool_specs
        from pipeline.scheduling import Scheduler

        Coordinator(
            Scheduler(plan.limits),
            actor_pool_specs(settings, plan, source, ledger.tag_writer, actor),
            ledger,
            work(),
            model.config.num_stages,
            lambda: None,
            lambda: None,
            lambda progress: None,
            settings.stalled_s,
        ).run()
    assert ledger.is_complete
    output.release()
