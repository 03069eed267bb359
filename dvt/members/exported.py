"""A `torch.export` program as a model of one stage, run by torch in the types of the program.

A program with a fixed batch size runs in batches of that size. Shapes: B images, S pixels per side.
"""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from dvt.errors import CheckpointError
from dvt.inference import StageExecutor, make_torch_executor
from dvt.loading.hub_config import ModelDescription
from dvt.members.network import (
    NetworkModel,
    are_probabilities,
    checked_logits,
    log_probabilities,
    network_digest,
    random_pixels,
)
from dvt.members.pt2_archive import read_archive
from dvt.members.pt2_graph import make_program
from dvt.members.pt2_program import Program
from dvt.preprocess import normalise, pixels_to_unit
from dvt.reuse import StageState, pad_images
from dvt.stage import StageOutput

__all__ = ["ExportedModel", "load_exported"]

_TRIED_BATCH = 2


def load_exported(path: Path, description: ModelDescription) -> "ExportedModel":
    """Loads a `.pt2` file and tries it on random pixels; nothing in it is unpickled or evaluated.

    Args:
        path: of the file.
        description: of the network, from its `config.json`.

    Raises:
        CheckpointError: unreadable, damaged, hostile or not supported.
    """
    try:
        program = make_program(read_archive(path), description.image_size)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return ExportedModel(program, description, digest)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


class ExportedModel(NetworkModel):
    """A program with its preprocessing and classes.

    Args:
        program: read and checked.
        description: of the network.
        files: digest of its file.

    Raises:
        CheckpointError: the program cannot run, or its output is not usable.
    """

    def __init__(self, program: Program, description: ModelDescription, files: str) -> None:
        size, batch_size = description.image_size, program.images.batch_size or _TRIED_BATCH
        pixels = torch.from_numpy(random_pixels(batch_size, size))
        images = normalise(pixels_to_unit(pixels), description.preprocess)
        macs, outputs = program.measure(images.to(program.images.dtype).contiguous())
        logits = checked_logits(outputs[0], batch_size)
        self._stage = _Stage(program, are_probabilities(logits))
        digest = network_digest(files, description)
        embedding_width = outputs[1].shape[-1] if len(outputs) > 1 else 0
        super().__init__(description, logits.shape[1], macs // batch_size, embedding_width, digest)

    def make_executor(
        self, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> StageExecutor:
        """As `Model.make_executor`; the precision is always that of the program."""
        device = device or torch.device("cpu")
        stage = self._stage.to(device)
        return make_torch_executor(self.spec, [stage], device, self._stage.program.images.dtype)


class _Stage(nn.Module):
    """A program as the module of a stage."""

    def __init__(self, program: Program, gives_probabilities: bool) -> None:
        super().__init__()
        self.program, self._gives_probabilities = program, gives_probabilities

    def forward(self, images_B3SS: Tensor, upstream: StageState | None = None) -> StageOutput:
        """Runs the program, in parts if it has a fixed batch size."""
        batch_size = self.program.images.batch_size
        # The views in a program are for this layout.
        images = images_B3SS.contiguous()
        parts = []
        for part in images.split(batch_size or len(images)):
            outputs = self.program(pad_images(part, batch_size or 0))
            parts.append([output[: len(part)] for output in outputs])
        logits, *embeddings = (torch.cat(part).flatten(1) for part in zip(*parts, strict=True))
        if self._gives_probabilities:
            logits = log_probabilities(logits.float())
        return StageOutput(logits, embeddings[0] if embeddings else None, None)
