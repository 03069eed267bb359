"""The cascade actor: holds the stages of one pool and the staged queue between them."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import ray
import torch

import dvt
from dvt.inference import StageExecutor, deterministic_matmul
from pipeline.audit.held_predictions import HeldPredictions
from pipeline.audit.summary import in_audit
from pipeline.cascade.batches import Failure, ForwardedBatch, Predictions
from pipeline.cascade.open_rows import OpenRows, RowsOfBlock
from pipeline.cascade.runner import CascadeRunner
from pipeline.cascade.stage_work import StageWork
from pipeline.cascade.tag_rows import pack_predictions, tag_classes, tag_rows
from pipeline.errors import ActorRestartedError, UsageError
from pipeline.logs import configure_worker_logging
from pipeline.records import TAGS_SCHEMA
from pipeline.runtime.actors.decode import DecodedBlock
from pipeline.runtime.resource_plan import PoolPlan
from pipeline.scheduling import Rows
from pipeline.settings import TagSettings

__all__ = ["CallResult", "CascadeActor", "ForwardedBlock"]

ExecutorFactory = Callable[[dvt.Model, torch.device, torch.dtype], StageExecutor]


@dataclass(frozen=True, slots=True)
class ForwardedBlock:
    """Images that continue in the next pool; stays in the object store.

    Attributes:
        batch: of n images; its row ids have no meaning in the next pool.
        info: what else tags need, n rows (`records.info_table`).
    """

    batch: ForwardedBatch
    info: pa.Table

    @property
    def num_bytes(self) -> int:
        """Size in the object store."""
        batch = self.batch
        state = 0 if batch.state is None else batch.state.num_bytes
        held = 0 if batch.held is None else batch.held.num_bytes
        arrays = batch.row_ids.nbytes + batch.pixels.nbytes + batch.confidences.nbytes
        return arrays + state + held + int(self.info.nbytes)


@dataclass(frozen=True, slots=True)
class CallResult:
    """The small result of a call, for the coordinator.

    Attributes:
        predicted: block -> (rows, the exit stage of each, from 1).
        failed: (block, row, detail) of images on which the model raised.
        forwarded: (block, rows) of images that continue, in the order of the forwarded block.
        forwarded_bytes: size of the forwarded block.
        busy_s: duration of the call.
        packed: block -> the packed prediction of each predicted row (`pack_predictions`), if copies
            of images share predictions.
        work: of each stage here, during the call.
        waiting: images inside, by the stage here that they wait for.
    """

    predicted: dict[int, tuple[Rows, Rows]]
    failed: list[tuple[int, int, str]]
    forwarded: tuple[RowsOfBlock, ...] = ()
    forwarded_bytes: int = 0
    busy_s: float = 0.0
    packed: dict[int, list[bytes]] = field(default_factory=dict)
    work: tuple[StageWork, ...] = ()
    waiting: tuple[int, ...] = ()


class CascadeActor:
    """Runs blocks through the stages of its pool; images that have not exited stay inside.

    Args:
        settings: of the job; the model is loaded from the path in it, after a restart too.
        pool: the stages to run, and how.
        thresholds: one for each exit; the last exit takes every image.
        executor: makes the model's executor from the model, the device and the precision.
    """

    def __init__(
        self,
        settings: TagSettings,
        pool: PoolPlan,
        thresholds: tuple[float, ...],
        *,
        executor: ExecutorFactory | None = None,
    ) -> None:
        configure_worker_logging()
        deterministic_matmul()
        torch.set_num_threads(pool.num_threads)
        model = dvt.load_model(settings.model)
        self._digest = f"{model.digest()} {model.groups.digest}".rstrip()
        self._groups = model.groups
        self._classes = tag_classes(model, settings.sure_of)
        self._gmacs = model.spec.gmacs_per_exit
        self._num_named = min(settings.top_k, model.spec.num_classes)
        self._settings = settings
        self._pool = pool
        self._thresholds = thresholds
        device, dtype = torch.device(pool.device), getattr(torch, pool.dtype)
        if executor is None:
            self._executor = model.make_executor(device, dtype)
        else:
            self._executor = executor(model, device, dtype)
        if settings.embeddings:
            self._executor.embedder = model.make_embedder(device)
        self._runner: CascadeRunner | None = None
        self._open = OpenRows()

    def reset(self) -> str:
        """Forgets all images; called before the first call, and after every failure.

        An actor that was only unreachable still holds images that other actors have been given.

        Returns:
            The ID of its node, once the weights are loaded.

        Raises:
            UsageError: it has loaded another model than the run has.
        """
        if self._pool.model_digest not in (None, self._digest):
            raise UsageError(
                f"model: {self._settings.model} has changed since the run started: its digest is "
                f"{self._digest}, not {self._pool.model_digest}; restore it and run the same "
                "command again"
            )
        self._runner = CascadeRunner(
            self._executor,
            self._thresholds,
            self._pool.batch_size,
            self._settings.top_k,
            self._pool.stages,
            self._pool.state_format,
            self._groups,
            self._settings.sure_of,
        )
        self._open = OpenRows()
        return str(ray.get_runtime_context().get_node_id())

    @ray.method(num_returns=3)
    def run(
        self,
        block: int,
        rows: Rows,
        data: DecodedBlock | ForwardedBlock,
        thresholds: tuple[float, ...] | None = None,
    ) -> tuple[pa.Table, ForwardedBlock | None, CallResult]:
        """Takes rows of a block in and runs all full batches.

        Args:
            block: its number.
            rows: of the block's data.
            data: of the block.
            thresholds: for this call; None for those of the job.

        Returns:
            Tags of the images that exited, the images that continue in the next pool, and what the
            coordinator needs.

        Raises:
            ActorRestartedError: `reset` was not called in this process.
        """
        started_s = time.perf_counter()
        runner = self._reset_runner()
        row_ids = self._open.add(block, rows, data.info)
        runner.add_forwarded(self._batch(data, rows, row_ids))
        return self._results(runner, *runner.run_full(thresholds), started_s)

    @ray.method(num_returns=3)
    def flush(
        self, thresholds: tuple[float, ...] | None = None
    ) -> tuple[pa.Table, ForwardedBlock | None, CallResult]:
        """Runs partial batches until no image is inside; returns and raises as `run` does.

        Args:
            thresholds: for this call; None for those of the job.
        """
        started_s = time.perf_counter()
        runner = self._reset_runner()
        return self._results(runner, *runner.flush(thresholds), started_s)

    def _reset_runner(self) -> CascadeRunner:
        if self._runner is None:
            # Without this check, a process that died while idle would pass for the old one.
            raise ActorRestartedError("it restarted while idle and lost all it held")
        return self._runner

    def _batch(
        self, data: DecodedBlock | ForwardedBlock, rows: Rows, row_ids: Rows
    ) -> ForwardedBatch:
        """Rows of a block; all of them, as in nearly every call, without a copy."""
        if isinstance(data, ForwardedBlock):
            batch = data.batch
        else:
            held = None
            if self._settings.audit is not None:
                is_audited = in_audit(data.info["key"].to_pylist(), self._settings.audit)
                num_groups = len(self._groups)
                held = HeldPredictions.none_yet(is_audited, self._num_named, num_groups)
            num_images = len(data.pixels)
            no_confidences = np.empty((num_images, 0), dtype=np.float32)
            all_rows = np.arange(num_images)
            batch = ForwardedBatch(all_rows, data.pixels, None, no_confidences, held)
        return replace(batch if len(rows) == len(batch) else batch[rows], row_ids=row_ids)

    def _results(
        self,
        runner: CascadeRunner,
        predictions: list[Predictions],
        failures: list[Failure],
        started_s: float,
    ) -> tuple[pa.Table, ForwardedBlock | None, CallResult]:
        tables: list[pa.Table] = []
        predicted: dict[int, list[tuple[Rows, int]]] = {}
        shared: dict[int, list[bytes]] = {}
        for prediction in predictions:
            info, rows_of_blocks = self._open.take(prediction.row_ids)
            for block, rows in rows_of_blocks:
                predicted.setdefault(block, []).append((rows, prediction.exit_stage))
            if self._settings.dedupe:
                packed = iter(pack_predictions(prediction, info))
                for block, rows in rows_of_blocks:
                    shared.setdefault(block, []).extend(itertools.islice(packed, len(rows)))
            gmacs = self._gmacs[prediction.exit_stage - 1]
            tables.append(tag_rows(prediction, info, self._classes, gmacs))
        failed = []
        for failure in failures:
            _, ((block, rows),) = self._open.take(np.array([failure.row_id]))
            failed.append((block, int(rows[0]), failure.detail))
        forwarded, forwarded_rows = self._forwarded(runner.take_forwarded())
        result = CallResult(
            predicted={block: _concatenated(parts) for block, parts in predicted.items()},
            failed=failed,
            forwarded=forwarded_rows,
            forwarded_bytes=0 if forwarded is None else forwarded.num_bytes,
            busy_s=time.perf_counter() - started_s,
            packed=shared,
            work=runner.take_work(),
            waiting=runner.waiting,
        )
        tags = pa.concat_tables(tables) if tables else TAGS_SCHEMA.empty_table()
        return tags, forwarded, result

    def _forwarded(
        self, batches: list[ForwardedBatch]
    ) -> tuple[ForwardedBlock | None, tuple[RowsOfBlock, ...]]:
        """Joins the images that continue into one object."""
        if not batches:
            return None, ()
        batch = batches[0] if len(batches) == 1 else ForwardedBatch.join(batches)
        info, rows_of_blocks = self._open.take(batch.row_ids)
        return ForwardedBlock(batch, info), tuple(rows_of_blocks)


def _concatenated(parts: list[tuple[Rows, int]]) -> tuple[Rows, Rows]:
    """Rows of one block, and the exit stage of each."""
    rows = np.concatenate([rows for rows, _ in parts])
    return rows, np.concatenate([np.full(len(rows), exit_stage) for rows, exit_stage in parts])
