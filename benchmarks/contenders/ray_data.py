"""Ray Data jobs: the cascade as three chained pools, at full depth, and a static model.

Each gets its best case. Blocks of one batch are in the object store before the clock starts. States
travel in 16 bits without pickling. Rows that exit leave the pipeline at once, to an actor beside it
because Ray Data has no such exit, and only hard rows continue. The clock runs from the first batch
of a pool to the last prediction, so the start of the actors does not count.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data
import torch
from numpy.typing import NDArray

from benchmarks.contenders.in_process import measured
from benchmarks.contenders.workload import Measured, Workload, open_executor
from dvt.exits import ALWAYS_EXIT, scores
from dvt.inference import EncodedState, decode_state, encode_state
from dvt.reuse import StageState
from pipeline import CascadePredictor

__all__ = ["run_chained", "run_every_stage", "run_predictor"]

Batch = dict[str, NDArray[Any]]


class _Collector:
    """Collects predictions, and the start and end of each batch."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[np.int64], ...]] = []
        self._times: list[float] = []

    def add(
        self,
        images: NDArray[np.int64],
        label_ids: NDArray[np.int64],
        exit_stages: NDArray[np.int64],
        started: float,
        ended: float,
    ) -> None:
        self._parts.append((images, label_ids, exit_stages))
        self._times += [started, ended]

    def result(self) -> Measured:
        images, label_ids, exit_stages = (
            np.concatenate(part) for part in zip(*self._parts, strict=True)
        )
        seconds = max(self._times) - min(self._times)
        return measured(seconds, images, label_ids, exit_stages)


class _Stage:
    """One stage of the chain, from 0: passes on hard rows with their state."""

    def __init__(self, work: Workload, stage: int, num_threads: int, collector: Any) -> None:
        self._work, self._stage, self._collector = work, stage, collector
        self._executor = open_executor(work.cascade, work.dtype, num_threads, work.batch_size)

    def __call__(self, batch: Batch) -> Batch:
        started = time.time()
        executor = self._executor
        pixels = executor.upload(batch["image"])()
        upstream = None if self._stage == 0 else _state(executor.device, executor.dtype, batch)
        output = executor.run(self._stage, pixels, upstream, self._work.batch_size)
        confidence, label_id = (each.cpu().numpy() for each in scores(output.logits).max(dim=-1))
        leaves = confidence >= self._work.thresholds[self._stage]
        self._collector.add.remote(
            batch["id"][leaves],
            label_id[leaves],
            np.full(int(leaves.sum()), self._stage + 1),
            started,
            time.time(),
        )
        if output.state is None:
            return {"id": batch["id"][~leaves]}
        staying = np.flatnonzero(~leaves)
        encoded = encode_state(output.state[torch.from_numpy(staying)], "bfloat16")
        hard: Batch = {"id": batch["id"][staying], "image": batch["image"][staying]}
        if encoded.features is not None:
            hard["features"] = encoded.features
        if encoded.relations is not None:  # rows first, as in every column
            hard["relations"] = np.ascontiguousarray(encoded.relations.swapaxes(0, 1))
        return hard


def _state(device: Any, dtype: Any, batch: Batch) -> StageState:
    relations = batch.get("relations")
    if relations is not None:
        relations = np.ascontiguousarray(relations.swapaxes(0, 1))
    return decode_state(EncodedState(batch.get("features"), relations, None), device, dtype)


class _EveryStage:
    """Runs all stages of a model on every image."""

    def __init__(self, work: Workload, is_static: bool, collector: Any) -> None:
        model = work.static if is_static else work.cascade
        self._work, self._collector = work, collector
        self._executor = open_executor(model, work.dtype, work.num_threads, work.batch_size)

    def __call__(self, batch: Batch) -> Batch:
        started = time.time()
        executor, num_stages = self._executor, self._executor.spec.num_stages
        pixels = executor.upload(batch["image"])()
        state: StageState | None = None
        for stage in range(num_stages):
            output = executor.run(stage, pixels, state, self._work.batch_size)
            state = output.state
        label_id = scores(output.logits).max(dim=-1).indices.cpu().numpy()
        exits = np.full(len(label_id), num_stages)
        self._collector.add.remote(batch["id"], label_id, exits, started, time.time())
        return {"id": batch["id"]}


class _Predictor:
    """`CascadePredictor` with a clock; computes once before its first batch."""

    def __init__(self, work: Workload, collector: Any) -> None:
        self._collector = collector
        open_executor(work.cascade, work.dtype, work.num_threads, work.batch_size)
        self._predictor = CascadePredictor(work.cascade, model_batch_size=work.batch_size)
        self._predictor({"image": work.rows(0, work.batch_size)})

    def __call__(self, batch: Batch) -> pa.Table:
        started = time.time()
        predictions = self._predictor(batch)
        self._collector.add.remote(
            batch["id"],
            predictions["label_id"].to_numpy(),
            predictions["exit_stage"].to_numpy(),
            started,
            time.time(),
        )
        return predictions


def run_chained(work: Workload, num_threads: int) -> Measured:
    """One pool per stage with one actor each, and strict batches between them.

    Args:
        work: the archive and the model.
        num_threads: of each actor.
    """

    def chain(data: ray.data.Dataset, collector: Any) -> ray.data.Dataset:
        for stage in range(len(work.thresholds)):
            if stage:
                data = data.repartition(target_num_rows_per_block=work.batch_size, strict=True)
            arguments = (work, stage, num_threads, collector)
            data = _mapped(data, _Stage, arguments, work.batch_size)
        return data

    assert work.thresholds[-1] == ALWAYS_EXIT
    return _run(work, chain)


def run_every_stage(work: Workload, is_static: bool) -> Measured:
    """One actor that runs the cascade to full depth, or the static model."""
    return _run(
        work,
        lambda data, collector: _mapped(
            data, _EveryStage, (work, is_static, collector), work.batch_size
        ),
    )


def run_predictor(work: Workload, rows_per_call: int) -> Measured:
    """One actor of `CascadePredictor`."""
    return _run(
        work,
        lambda data, collector: _mapped(data, _Predictor, (work, collector), rows_per_call),
    )


def _mapped(
    data: ray.data.Dataset, kind: type, arguments: tuple[object, ...], batch_size: int
) -> ray.data.Dataset:
    return data.map_batches(
        kind,
        fn_constructor_args=arguments,
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=1),
        num_cpus=1,
    )


def _run(work: Workload, job: Callable[[ray.data.Dataset, Any], ray.data.Dataset]) -> Measured:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    collector: Any = ray.remote(_Collector).options(num_cpus=0).remote()
    blocks: list[Any] = []
    for start in range(0, work.num_images, work.batch_size):
        pixels = work.rows(start, start + work.batch_size)
        numbers = np.arange(start, start + len(pixels))
        image = pa.FixedShapeTensorArray.from_numpy_ndarray(pixels)
        blocks.append(ray.put(pa.table({"id": numbers, "image": image})))
    for _ in job(ray.data.from_arrow_refs(blocks), collector).iter_batches(batch_size=None):
        pass
    result: Measured = ray.get(collector.result.remote())
    return result
