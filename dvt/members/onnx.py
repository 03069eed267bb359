"""An ONNX file as a model of one stage, run by ONNX Runtime.

Runs on the CPU with as many threads as torch has when the executor is made, or on a GPU if this
build of ONNX Runtime has its CUDA provider. A graph with a fixed batch size runs in batches of that
size. Shapes: B images, S pixels per side.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dvt.config import Preprocess
from dvt.errors import CheckpointError, ModelError
from dvt.inference.executor import StageExecutor
from dvt.loading.hub_config import ModelDescription
from dvt.members.network import (
    NetworkModel,
    are_probabilities,
    checked_logits,
    log_probabilities,
    network_digest,
    one_line,
    random_pixels,
)
from dvt.members.onnx_file import OnnxGraph, read_onnx
from dvt.members.onnx_session import open_session
from dvt.model import ModelSpec
from dvt.reuse import StageState, pad_images
from dvt.stage import StageOutput

__all__ = ["OnnxModel", "load_onnx"]

_TRIED_BATCH = 2


def load_onnx(path: Path, description: ModelDescription) -> "OnnxModel":
    """Loads an ONNX file and tries it on random pixels.

    Args:
        path: of the file.
        description: of the network, from its `config.json`.

    Raises:
        CheckpointError: unreadable, damaged, hostile or not supported.
    """
    try:
        graph = read_onnx(path, description.image_size, description.output)
        return OnnxModel(graph, description)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


class OnnxModel(NetworkModel):
    """A graph with its preprocessing and classes.

    Args:
        graph: read and checked.
        description: of the network.

    Raises:
        CheckpointError: ONNX Runtime cannot run the graph, or its output is not usable.
    """

    def __init__(self, graph: OnnxGraph, description: ModelDescription) -> None:
        self._graph = graph
        self._session = _Session(graph, torch.device("cpu"))
        batch_size, size = graph.batch_size or _TRIED_BATCH, description.image_size
        pixels = torch.from_numpy(random_pixels(batch_size, size))
        try:
            outputs = self._session.run(_input(pixels, graph, description.preprocess))
        except ModelError as error:
            raise CheckpointError(f"cannot run on a batch of {batch_size}: {error}") from error
        logits = checked_logits(outputs[0], batch_size)
        self._gives_probabilities = are_probabilities(logits)
        if [len(output) for output in outputs] != [batch_size] * len(outputs):
            raise CheckpointError(f"the embedding must have {batch_size} rows")
        digest = network_digest(graph.digest, description)
        super().__init__(description, logits.shape[1], graph.macs, graph.embedding_width, digest)

    def make_executor(
        self, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> StageExecutor:
        """As `Model.make_executor`; the precision is always that of the graph."""
        device = device or torch.device("cpu")
        if not self._session.suits(device):
            self._session = _Session(self._graph, device)
        return _OnnxExecutor(
            self.spec, self._graph, self._session, self._gives_probabilities, device
        )


class _Session:
    """A session of ONNX Runtime for a graph on a device."""

    def __init__(self, graph: OnnxGraph, device: torch.device) -> None:
        self._device, self._num_threads = device, torch.get_num_threads()
        self._names, self._input_name = list(graph.outputs), graph.input_name
        try:
            self._session = open_session(graph.content, self._num_threads, device, graph.external)
        except Exception as error:
            raise CheckpointError(f"ONNX Runtime refuses it ({one_line(error)})") from error

    def suits(self, device: torch.device) -> bool:
        """Whether it runs on the device with torch's number of threads."""
        return (self._device, self._num_threads) == (device, torch.get_num_threads())

    def run(self, inputs: Tensor) -> list[Tensor]:
        """Runs the graph on a batch of its own size, if it has one; outputs in float32."""
        try:
            outputs = self._session.run(self._names, {self._input_name: inputs.cpu().numpy()})
        except Exception as error:
            raise ModelError(f"ONNX Runtime: {one_line(error)}") from error
        return [torch.from_numpy(np.asarray(output, np.float32)) for output in outputs]


class _OnnxExecutor(StageExecutor):
    def __init__(
        self,
        spec: ModelSpec,
        graph: OnnxGraph,
        session: _Session,
        gives_probabilities: bool,
        device: torch.device,
    ) -> None:
        super().__init__(spec, device, torch.float32)
        self._graph, self._session = graph, session
        self._gives_probabilities = gives_probabilities

    def _forward(self, stage: int, pixels_BSS3: Tensor, upstream: StageState | None) -> StageOutput:
        inputs = _input(pixels_BSS3, self._graph, self.spec.preprocess)
        parts = [self._run(part) for part in inputs.split(self._graph.batch_size or len(inputs))]
        logits, *embeddings = (torch.cat(part).flatten(1) for part in zip(*parts, strict=True))
        if self._gives_probabilities:
            logits = log_probabilities(logits)
        embedding = embeddings[0].to(self.device) if embeddings else None
        return StageOutput(logits.to(self.device), embedding, None)

    def _run(self, inputs: Tensor) -> Sequence[Tensor]:
        padded = pad_images(inputs, self._graph.batch_size or 0)
        return [output[: len(inputs)] for output in self._session.run(padded)]


def _input(pixels_BSS3: Tensor, graph: OnnxGraph, preprocess: Preprocess) -> Tensor:
    """Pixels as the graph's input; one of bytes is normalised by the graph itself."""
    is_first = graph.layout == "channels_first"
    # Transposed as bytes, a quarter of the memory traffic.
    pixels = pixels_BSS3.permute(0, 3, 1, 2).contiguous() if is_first else pixels_BSS3
    if graph.input_type is np.uint8:
        return pixels
    shape = (3, 1, 1) if is_first else (3,)
    mean, std = (
        torch.tensor(v, device=pixels.device).view(shape) for v in (preprocess.mean, preprocess.std)
    )
    images = pixels.float()
    torch.addcmul(-mean / std, images, 1 / (255 * std), out=images)
    return images.half() if graph.input_type is np.float16 else images
