"""Embeddings of images for search: the first stage's, projected and of length 1.

Every image passes the first stage, so the embeddings of an archive share one space. They are at
most 256 wide: wider ones are centred and multiplied by a fixed matrix that ships with the model
(`embedding.safetensors`), or by a random one, the same on every machine, which keeps angles within
some hundredths (Johnson and Lindenstrauss 1984).
Shapes: B images, W channels of the stage's embedding, D of the stored one.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dvt.atomic_io import atomic_write
from dvt.errors import CheckpointError

__all__ = ["MAX_EMBEDDING_WIDTH", "PROJECTION", "Embedder", "Projection", "fit_projection"]

MAX_EMBEDDING_WIDTH = 256
PROJECTION = "embedding.safetensors"
_SEED = 20211206
_SHORTEST = 1e-6  # a vector of this length or less has no direction


@dataclass(frozen=True, slots=True)
class Projection:
    """A fixed projection.

    Attributes:
        mean: [W], is subtracted first.
        matrix: [W, D], multiplies from the right.
    """

    mean: Tensor
    matrix: Tensor

    @classmethod
    def default(cls, width: int) -> "Projection":
        """The identity up to the greatest width, else a random matrix."""
        if width <= MAX_EMBEDDING_WIDTH:
            return cls(torch.zeros(width), torch.eye(width))
        random = np.random.Generator(np.random.Philox(_SEED))
        matrix = random.standard_normal((width, MAX_EMBEDDING_WIDTH), dtype=np.float32)
        return cls(torch.zeros(width), torch.from_numpy(matrix / MAX_EMBEDDING_WIDTH**0.5))

    @classmethod
    def load(cls, path: Path, width: int) -> "Projection":
        """Loads the projection of a model.

        Raises:
            CheckpointError: the file is damaged, or is for embeddings of another width.
        """
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: truncated or damaged") from error
        mean, matrix = tensors.get("mean"), tensors.get("matrix")
        if mean is None or matrix is None or mean.shape != (width,) or matrix.ndim != 2:
            raise CheckpointError(f"{path}: must hold mean [{width}] and matrix [{width}, D]")
        if len(matrix) != width or not 1 <= matrix.shape[1] <= MAX_EMBEDDING_WIDTH:
            raise CheckpointError(
                f"{path}: matrix must be [{width}, D] with D up to {MAX_EMBEDDING_WIDTH} "
                f"(got {list(matrix.shape)})"
            )
        return cls(mean.float(), matrix.float())

    def save(self, path: Path) -> None:
        """Writes the file that `load` reads, in half the bytes."""
        tensors = {"mean": self.mean.half(), "matrix": self.matrix.half().contiguous()}
        with atomic_write(path) as partial:
            save_file(tensors, partial)


class Embedder:
    """Makes stored embeddings on a device.

    Args:
        projection: of the model.
        device: of the stage's embeddings.
    """

    def __init__(self, projection: Projection, device: torch.device) -> None:
        self._mean_W = projection.mean.to(device)
        self._matrix_WD = projection.matrix.to(device)

    def __call__(self, embedding_BW: Tensor) -> Tensor:
        """Projects and normalises.

        Returns:
            [B, D] float16 of length 1; zeros for images whose embedding has no direction.
        """
        projected_BD = (embedding_BW.float() - self._mean_W) @ self._matrix_WD
        length_B1 = projected_BD.norm(dim=1, keepdim=True)
        has_direction_B1 = length_B1.isfinite() & (length_B1 > _SHORTEST)
        # Filled, not multiplied by 0, because a vector may hold NaN.
        stored_BD: Tensor = (projected_BD / length_B1).masked_fill(~has_direction_B1, 0.0).half()
        return stored_BD


def fit_projection(embeddings_nW: Tensor, width: int = MAX_EMBEDDING_WIDTH) -> Projection:
    """Principal components of embeddings, which keep the most of their variance.

    Args:
        embeddings_nW: of varied images, more than W of them.
        width: D.
    """
    mean_W = embeddings_nW.double().mean(dim=0)
    _, _, components = torch.linalg.svd(embeddings_nW.double() - mean_W, full_matrices=False)
    return Projection(mean_W.float(), components[:width].T.contiguous().float())
