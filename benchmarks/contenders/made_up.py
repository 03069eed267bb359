"""Actors whose work is made up, for figures about what is around them."""

import time
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from numpy.typing import NDArray
from torch import Tensor

import dvt
from dvt.inference import StageExecutor
from dvt.reuse import StageState
from dvt.stage import StageOutput
from pipeline.records import AUDIT_COLUMNS, TAGS_SCHEMA, ImageRecord
from pipeline.runtime.actors.cascade import CallResult, CascadeActor
from pipeline.runtime.actors.decode import DecodedBlock, DecodeResult

__all__ = ["AnsweringActor", "PixelActor", "SlowActor"]

_SIDE_IN_ARCHIVE = 500


class PixelActor:
    """In place of the decode actor: noise.

    Args:
        side: of a picture, pixels.
    """

    def __init__(self, side: int) -> None:
        self._noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)

    def reset(self) -> None:
        """Answers once the actor is up."""

    @ray.method(num_returns=2)
    def decode(self, images: list[ImageRecord], shard: str) -> tuple[DecodedBlock, DecodeResult]:
        """One block."""
        count = len(images)
        info = pa.table(
            {
                "key": pa.array([image.key for image in images], pa.string()),
                "uri": pa.array([image.uri for image in images], pa.string()),
                "width": pa.array(np.full(count, _SIDE_IN_ARCHIVE, np.int32)),
                "height": pa.array(np.full(count, _SIDE_IN_ARCHIVE, np.int32)),
                "etag": pa.nulls(count, pa.string()),
                "shard": pa.array([shard] * count, pa.string()),
            }
        )
        pixels = np.repeat(self._noise[None], count, axis=0)
        return DecodedBlock(pixels, info), DecodeResult(list(range(count)), [])


class AnsweringActor:
    """In place of the cascade actor: every image leaves at once, at one of three exits."""

    def __init__(self, *arguments: object) -> None:
        """Takes those of the cascade actor."""

    def reset(self) -> None:
        """Answers once the actor is up."""

    @ray.method(num_returns=3)
    def run(
        self, block: int, rows: NDArray[np.int64], data: DecodedBlock
    ) -> tuple[pa.Table, None, CallResult]:
        """Answers for all rows."""
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
            **{name: pa.nulls(count, TAGS_SCHEMA.field(name).type) for name in AUDIT_COLUMNS},
        }
        result = CallResult(predicted={block: (rows, exits)}, failed=[])
        return pa.table(columns, schema=TAGS_SCHEMA), None, result

    @ray.method(num_returns=3)
    def flush(self) -> tuple[pa.Table, None, CallResult]:
        """Nothing is ever inside."""
        return TAGS_SCHEMA.empty_table(), None, CallResult(predicted={}, failed=[])


class SlowActor(CascadeActor):
    """The last stage takes many times as long as it does."""

    slowness = 1.0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, executor=partial(_SlowExecutor, slowness=self.slowness))

    @classmethod
    def slowed(cls, slowness: float) -> type["SlowActor"]:
        """A class of this slowness, which travels by value."""
        return type("SlowActor", (cls,), {"slowness": slowness})


class _SlowExecutor(StageExecutor):
    def __init__(
        self, model: dvt.Cascade, device: torch.device, dtype: torch.dtype, slowness: float
    ) -> None:
        super().__init__(model, device, dtype)
        self._slowness = slowness

    def run(
        self, stage: int, pixels_nSS3: Tensor, upstream: StageState | None, batch_size: int
    ) -> StageOutput:
        started = time.perf_counter()
        output = super().run(stage, pixels_nSS3, upstream, batch_size)
        if stage == self.config.num_stages - 1:
            time.sleep((self._slowness - 1) * (time.perf_counter() - started))
        return output
