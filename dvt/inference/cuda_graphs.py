"""Stages as CUDA graphs, with pixels copied to the GPU while it computes.

A stage consists of some hundreds of small kernels. Launched one by one they leave the GPU waiting
for the CPU; a graph replays them with one launch, always on the same memory. Shapes as in
`executor`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dvt.inference.executor import TorchExecutor
from dvt.inference.state_codec import tensor_view
from dvt.reuse import StageState
from dvt.stage import StageOutput

if TYPE_CHECKING:  # a model makes its executor
    from dvt.model import ModelSpec

__all__ = ["CudaGraphExecutor"]

logger = logging.getLogger(__name__)

_WARM_UPS = 3  # cuBLAS and the allocator settle before a capture


@dataclass(frozen=True, slots=True)
class _CapturedStage:
    """A graph with the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    output: StageOutput


class _PinnedBuffer:
    """A page-locked buffer for uploads; free again when its last copy has finished."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8, pin_memory=True)
        self._copied = torch.cuda.Event()

    def send(self, pixels: Tensor, stream: torch.cuda.Stream) -> tuple[Tensor, torch.cuda.Event]:
        """Starts the copy to the device; the event marks its end."""
        self._copied.synchronize()
        if self._memory.numel() < pixels.numel():
            self._memory = torch.empty(pixels.numel(), dtype=torch.uint8, pin_memory=True)
        staged = self._memory[: pixels.numel()].view(pixels.shape)
        staged.copy_(pixels)
        with torch.cuda.stream(stream):
            on_device = staged.to(stream.device, non_blocking=True)
            self._copied = stream.record_event()
        return on_device, self._copied


class CudaGraphExecutor(TorchExecutor):
    """One graph a stage, captured at its first use and again when the batch size changes."""

    def __init__(
        self,
        spec: "ModelSpec",
        stages: Sequence[nn.Module],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(spec, stages, device, dtype)
        if dtype == torch.float32:
            # Convolutions would round to 10 bits of mantissa by default.
            torch.backends.cudnn.allow_tf32 = False
        self._captured: dict[int, _CapturedStage] = {}
        self._batch_size = 0
        self._use_graphs = True
        # A run may overwrite the output of the previous one, so all graphs share one pool.
        self._pool = torch.cuda.graph_pool_handle()
        self._capture_stream = torch.cuda.Stream(device)
        self._copy_stream = torch.cuda.Stream(device)
        # Two, so that one is filled while the other is sent.
        self._buffers = [_PinnedBuffer(), _PinnedBuffer()]

    def upload(self, pixels_nSS3: NDArray[np.uint8]) -> Callable[[], Tensor]:
        """Starts the copy; it overlaps with computation until the pixels are requested."""
        self._buffers.reverse()
        pixels, copied = self._buffers[0].send(tensor_view(pixels_nSS3), self._copy_stream)

        def wait() -> Tensor:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(copied)
            pixels.record_stream(current)
            return pixels

        return wait

    def _forward(self, stage: int, pixels_BSS3: Tensor, upstream: StageState | None) -> StageOutput:
        if self._batch_size != len(pixels_BSS3):
            # Graphs of another size hold their memory as long as they live.
            self._captured.clear()
            self._batch_size = len(pixels_BSS3)
        if stage not in self._captured and self._use_graphs:
            self._capture(stage, pixels_BSS3, upstream)
        if stage not in self._captured:
            return super()._forward(stage, pixels_BSS3, upstream)
        captured = self._captured[stage]
        inputs = _inputs(pixels_BSS3, upstream)
        if [part.shape for part in inputs] != [part.shape for part in captured.inputs]:
            raise ValueError(f"stage {stage + 1}: upstream state of another shape than captured")
        for memory, part in zip(captured.inputs, inputs, strict=True):
            memory.copy_(part)
        captured.graph.replay()
        return captured.output

    def _capture(self, stage: int, pixels: Tensor, upstream: StageState | None) -> None:
        """Captures the stage; falls back to single launches if CUDA cannot capture it."""
        pixels = pixels.clone()
        if upstream is not None:  # joining makes a copy, which the graph may keep
            upstream = StageState.join([upstream.to(self.device, self.dtype)])
        current = torch.cuda.current_stream(self.device)
        self._capture_stream.wait_stream(current)
        with torch.cuda.stream(self._capture_stream):
            for _ in range(_WARM_UPS):
                super()._forward(stage, pixels, upstream)
        current.wait_stream(self._capture_stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._capture_stream):
                output = super()._forward(stage, pixels, upstream)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            # A failed capture may leave its stream behind as the current one.
            torch.cuda.set_stream(current)
            logger.warning("CUDA graphs are off, kernels are launched one by one: %s", error)
            self._use_graphs = False
            return
        self._captured[stage] = _CapturedStage(graph, _inputs(pixels, upstream), output)


def _inputs(pixels: Tensor, upstream: StageState | None) -> list[Tensor]:
    state = () if upstream is None else (upstream.features, upstream.relations)
    return [pixels, *(part for part in state if part is not None)]
