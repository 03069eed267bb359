"""Stages as CUDA graphs, and pixels on their way while others are computed.

A stage is some hundreds of small kernels; launched one by one they would leave the GPU waiting
for the processor. A graph replays them all with one launch, always on the same memory. Shapes as
in `executor`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt.cascade import Cascade
from dvt.fast.executor import StageExecutor
from dvt.reuse import StageState
from dvt.stage import StageOutput

__all__ = ["CudaGraphExecutor"]

_WARM_UPS = 3  # cuBLAS and the allocator settle before a capture


@dataclass(frozen=True, slots=True)
class _Captured:
    """A graph with the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    pixels: Tensor
    upstream: StageState | None
    output: StageOutput


class _PinnedBuffer:
    """Page-locked memory that pixels pass through; free again when its last copy is done."""

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.uint8, pin_memory=True)
        self._copied = torch.cuda.Event()

    def send(self, pixels: Tensor, stream: torch.cuda.Stream) -> tuple[Tensor, torch.cuda.Event]:
        """Starts the copy to the device; it is there when the event has happened."""
        self._copied.synchronize()
        if self._memory.numel() < pixels.numel():
            self._memory = torch.empty(pixels.numel(), dtype=torch.uint8, pin_memory=True)
        staged = self._memory[: pixels.numel()].view(pixels.shape)
        staged.copy_(pixels)
        with torch.cuda.stream(stream):
            arriving = staged.to(stream.device, non_blocking=True)
            self._copied = stream.record_event()
        return arriving, self._copied


class CudaGraphExecutor(StageExecutor):
    """One graph for every stage and batch size, captured when it is first needed."""

    def __init__(self, model: Cascade, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__(model, device, dtype)
        self._captured: dict[tuple[int, int], _Captured] = {}
        self._copies = torch.cuda.Stream(device)
        # Two, so that one is filled while the other is sent.
        self._buffers = [_PinnedBuffer(), _PinnedBuffer()]

    def upload(self, pixels_nSS3: NDArray[np.uint8]) -> Callable[[], Tensor]:
        """Starts the copy; it runs beside whatever is computed until the pixels are asked for."""
        self._buffers.reverse()
        pixels, arrived = self._buffers[0].send(torch.from_numpy(pixels_nSS3), self._copies)

        def arrive() -> Tensor:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(arrived)
            pixels.record_stream(current)
            return pixels

        return arrive

    def _forward(self, stage: int, pixels_BSS3: Tensor, upstream: StageState | None) -> StageOutput:
        key = (stage, len(pixels_BSS3))
        if key not in self._captured:
            self._captured[key] = self._capture(stage, pixels_BSS3, upstream)
        captured = self._captured[key]
        captured.pixels.copy_(pixels_BSS3)
        if upstream is not None and captured.upstream is not None:
            for place, part in zip(_parts(captured.upstream), _parts(upstream), strict=True):
                place.copy_(part)
        captured.graph.replay()
        return captured.output

    def _capture(self, stage: int, pixels: Tensor, upstream: StageState | None) -> _Captured:
        pixels = pixels.clone()
        if upstream is not None:  # joining makes a copy, which the graph may keep
            upstream = StageState.join([upstream.to(self.device, self.dtype)])
        aside = torch.cuda.Stream(self.device)
        aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UPS):
                super()._forward(stage, pixels, upstream)
        torch.cuda.current_stream(self.device).wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = super()._forward(stage, pixels, upstream)
        return _Captured(graph, pixels, upstream, output)


def _parts(state: StageState) -> list[Tensor]:
    return [part for part in (state.features, state.relations) if part is not None]
