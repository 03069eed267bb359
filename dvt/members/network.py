"""One network as a model of one stage: base of `onnx` and `exported`.

Shapes: B images, S pixels per side, C classes.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvt.errors import CheckpointError
from dvt.labels.imagenet import NUM_CLASSES, class_names
from dvt.loading.hub_config import CONFIG, ModelDescription
from dvt.members.pixel_model import PixelModel
from dvt.model import Calibration, ModelSpec, StageSpec

__all__ = [
    "LARGEST_TENSOR",
    "NetworkModel",
    "are_probabilities",
    "checked_logits",
    "damage_in_one_line",
    "log_probabilities",
    "network_digest",
    "one_line",
    "random_pixels",
]

LARGEST_TENSOR = 2**28
"""Values of a tensor inside a network; a file that asks for more is refused."""

# What walking through a malformed file raises.
_DAMAGED = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_LONGEST_ERROR = 200


class NetworkModel(PixelModel):
    """A network with one exit.

    Args:
        description: of its input and classes.
        num_classes: C.
        macs: of one image.
        embedding_width: channels of its embedding; 0 if it has none.
        digest: of its files and its description, 16 hex digits.

    Raises:
        CheckpointError: the description names another number of classes.
    """

    def __init__(
        self,
        description: ModelDescription,
        num_classes: int,
        macs: int,
        embedding_width: int,
        digest: str,
    ) -> None:
        labels = description.labels
        if labels is None and num_classes == NUM_CLASSES:
            labels = class_names()
        if labels is not None and len(labels) != num_classes:
            raise CheckpointError(
                f"names {len(labels)} classes in {CONFIG}, but has {num_classes} outputs"
            )
        super().__init__(labels, Calibration(thresholds=()))
        name, size = description.architecture, description.image_size
        stage = StageSpec(f"{name} {size} px", size, macs, macs, embedding_width)
        self._spec = ModelSpec(name, num_classes, size, description.preprocess, (stage,))
        self._digest = digest

    @property
    def spec(self) -> ModelSpec:
        """As `Model.spec`."""
        return self._spec

    def digest(self) -> str:
        """Identifies the network's files, preprocessing and class names, 16 hex digits."""
        return self._digest

    def inference_dtype(self, device: torch.device) -> torch.dtype:
        """float32: a network computes in the types of its own file."""
        return torch.float32


def network_digest(files: str, description: ModelDescription) -> str:
    """Digest of a network from that of its files, 16 hex digits."""
    parts = asdict(description) | {"preprocess": description.preprocess.model_dump()}
    text = json.dumps([files, parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def random_pixels(batch_size: int, size: int) -> NDArray[np.uint8]:
    """Pixels [B, S, S, 3] to try a network on, always the same."""
    shape = (batch_size, size, size, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def checked_logits(output: Tensor, batch_size: int) -> Tensor:
    """The first output of a network on random pixels, as [B, C].

    Raises:
        CheckpointError: it has another shape or is not finite.
    """
    is_flat = output.ndim >= 2 and all(side == 1 for side in output.shape[2:])
    if not is_flat or len(output) != batch_size or output.shape[1] < 2:
        raise CheckpointError(
            f"the output must be [{batch_size}, classes] for {batch_size} images "
            f"(got {list(output.shape)})"
        )
    if not bool(output.isfinite().all()):
        raise CheckpointError("the output for random pixels is not finite")
    return output.flatten(1)


def are_probabilities(logits_BC: Tensor) -> bool:
    """Whether a network's output on random pixels is that of a softmax."""
    values = logits_BC.double()
    return bool((values >= 0).all()) and bool(((values.sum(1) - 1).abs() < 1e-3).all())


def log_probabilities(probabilities_BC: Tensor) -> Tensor:
    """Logits whose softmax is the probabilities; those that are 0 become the smallest number."""
    return probabilities_BC.clamp_min(torch.finfo(torch.float32).tiny).log()


@contextmanager
def damage_in_one_line() -> Iterator[None]:
    """Raises what a malformed file causes as `CheckpointError`."""
    try:
        yield
    except CheckpointError:
        raise
    except _DAMAGED as error:
        raise CheckpointError(f"damaged ({type(error).__name__}: {one_line(error)})") from error


def one_line(error: Exception) -> str:
    """The beginning of an error's text, without line breaks."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_ERROR else text[:_LONGEST_ERROR] + "…"
