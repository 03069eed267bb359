"""Runs the real coordinator, scheduler, ledger and tables on synthetic images and actors."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray
from torch import Tensor

import dvt
from dvt.inference import TorchExecutor
from dvt.reuse import StageState
from dvt.stage import StageOutput
from pipeline.output.layout import Output
from pipeline.output.ledger import Ledger
from pipeline.output.results import Results
from pipeline.records import AUDIT_COLUMNS, GROUP_COLUMNS, TAGS_SCHEMA, ImageRecord, info_table
from pipeline.runtime.actor_pools import ActorPoolSpecs
from pipeline.runtime.actors.cascade import CallResult, CascadeActor
from pipeline.runtime.actors.decode import DecodedBlock, DecodeResult
from pipeline.runtime.coordinator import Coordinator
from pipeline.runtime.resource_plan import plan_job
from pipeline.runtime.run_record import new_run_file
from pipeline.runtime.worklist import Worklist
from pipeline.scheduling import Scheduler
from pipeline.settings import TagSettings
from pipeline.sources.base import NOTHING_KEPT, Source
from pipeline.sources.listing import ShardListing

__all__ = ["InstantActor", "PixelActor", "SlowActor", "SyntheticRun"]


class SyntheticRun:
    """A run whose output is claimed; its actors are the caller's.

    Args:
        settings: of the job; `settings.out` must not exist.
        model: loaded.
        thresholds: one for each exit but the last; None for the model's own.
        dtype: of the computation.

    Attributes:
        plan: actors and threads of each pool.
        ledger: of the output.
    """

    def __init__(
        self,
        settings: TagSettings,
        model: dvt.Cascade,
        thresholds: tuple[float, ...] | None,
        dtype: str,
    ) -> None:
        exit_thresholds = model.thresholds(thresholds)
        self.plan = plan_job(settings, model.spec, exit_thresholds, dtype)
        self._output = Output(Path(settings.out))
        run_file = new_run_file(settings, settings.input, model, exit_thresholds)
        self._output.claim(run_file, overwrite=False)
        self._tables = self._output.tables()
        self._num_stages = model.spec.num_stages
        self.ledger = Ledger(self._tables, model.spec.gmacs_per_exit, "benchmark")

    def execute(self, images: Iterable[ImageRecord], specs: ActorPoolSpecs) -> float:
        """Runs to the last commit; returns the seconds that took, without starting the actors."""
        with ShardListing(_Images(images)) as listing:
            shards = (None if shard is None else self.ledger.open(shard) for shard in listing)
            coordinator = Coordinator(
                Scheduler(self.plan.limits),
                specs,
                Worklist(shards, self.ledger, listing),
                Results(self.ledger, self._num_stages),
                lambda progress: None,
            )
            started = time.perf_counter()
            coordinator.run()
            seconds = time.perf_counter() - started
        self._output.release()
        return seconds

    def tags(self, columns: list[str]) -> pa.Table:
        """Columns of all tags."""
        return self._tables[0].scan(columns)


class _Images(Source):
    def __init__(self, images: Iterable[ImageRecord]) -> None:
        self._images = images

    def list_images(self) -> Iterator[ImageRecord]:
        yield from self._images


class PixelActor:
    """Replaces the decode actor: pixels come from a function.

    Args:
        pixels: returns the pixels [n, S, S, 3] of n images.
    """

    def __init__(self, pixels: Callable[[list[ImageRecord]], NDArray[np.uint8]]) -> None:
        self._pixels = pixels

    def reset(self) -> str:
        """Returns the name of its node once the actor is up."""
        return str(ray.get_runtime_context().get_node_id())

    @ray.method(num_returns=2)
    def decode(self, images: list[ImageRecord], shard: str) -> tuple[DecodedBlock, DecodeResult]:
        """Makes one block."""
        pixels = self._pixels(images)
        side = pixels.shape[1]
        info = info_table(((image, shard, (side, side, None)) for image in images), NOTHING_KEPT)
        return DecodedBlock(pixels, info), DecodeResult(list(range(len(images))), [])


class InstantActor:
    """Replaces the cascade actor: every image exits at once, at one of three exits."""

    def __init__(self, *arguments: object) -> None:
        """Takes the arguments of the cascade actor."""

    def reset(self) -> None:
        """Returns once the actor is up."""

    @ray.method(num_returns=3)
    def run(
        self, block: int, rows: NDArray[np.int64], data: DecodedBlock
    ) -> tuple[pa.Table, None, CallResult]:
        """Predicts the same label for all rows."""
        count = len(rows)
        info = data.info.take(rows)
        exits = 1 + np.minimum(2, np.arange(count) % 5 // 2)
        ones = pa.array(np.ones(count, np.float32))
        offsets = pa.array(np.arange(count + 1, dtype=np.int32))
        labels = pa.array(["circle"] * count, pa.string())
        columns = {name: info[name] for name in info.column_names} | {
            "label": labels,
            "label_id": pa.array(np.zeros(count, np.int32)),
            "confidence": ones,
            "top_labels": pa.ListArray.from_arrays(offsets, labels),
            "top_scores": pa.ListArray.from_arrays(offsets, ones),
            "exit_stage": pa.array(exits.astype(np.int8)),
            "exit_confidences": pa.ListArray.from_arrays(offsets, ones),
            "gmacs": ones,
            **{
                name: pa.nulls(count, TAGS_SCHEMA.field(name).type)
                for name in (*AUDIT_COLUMNS, *GROUP_COLUMNS, "embedding")
            },
        }
        result = CallResult(predicted={block: (rows, exits)}, failed=[])
        return pa.table(columns, schema=TAGS_SCHEMA), None, result

    @ray.method(num_returns=3)
    def flush(self) -> tuple[pa.Table, None, CallResult]:
        """Returns nothing, because nothing is ever inside."""
        return TAGS_SCHEMA.empty_table(), None, CallResult(predicted={}, failed=[])


class SlowActor(CascadeActor):
    """A cascade actor whose last stage is slower by a factor."""

    slowness = 1.0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, executor=partial(_SlowExecutor, slowness=self.slowness))

    @classmethod
    def slowed(cls, slowness: float) -> type["SlowActor"]:
        """A class with this factor; Ray sends it by value."""
        return type("SlowActor", (cls,), {"slowness": slowness})


class _SlowExecutor(TorchExecutor):
    def __init__(
        self, model: dvt.Cascade, device: torch.device, dtype: torch.dtype, slowness: float
    ) -> None:
        stages = list(model.to(device=device, dtype=dtype).stages)
        super().__init__(model.spec, stages, device, dtype)
        self._slowness = slowness

    def run(
        self, stage: int, pixels_nSS3: Tensor, upstream: StageState | None, batch_size: int
    ) -> StageOutput:
        started = time.perf_counter()
        output = super().run(stage, pixels_nSS3, upstream, batch_size)
        if stage == self.spec.num_stages - 1:
            time.sleep((self._slowness - 1) * (time.perf_counter() - started))
        return output
