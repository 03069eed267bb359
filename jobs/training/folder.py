"""OUT/training/: the resumable state of `dvt train`, beside the checkpoint.

state.pt            the state from which the same command continues; replaced atomically
curve.jsonl         the learning curve, one line per epoch (`jobs.training.curve`)
validation.parquet  the images held out of the training data, for calibration and evaluation
"""

import hashlib
import io
import time
from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from pydantic import BaseModel
from torch import Tensor

from dvt.atomic_io import atomic_write
from dvt.training import EpochResult
from jobs.datasets import LabelledPictures
from jobs.training.curve import LearningCurve
from pipeline.errors import UsageError

__all__ = ["Resumable", "TrainingFolder", "training_digest"]


class Resumable(Protocol):
    """A trainer whose state can be saved and restored; see `dvt.training.Trainer`."""

    step: int
    steps_per_epoch: int
    num_steps: int
    results: list[EpochResult]

    def state_dict(self) -> dict[str, Any]:
        """The complete state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a state."""


def training_digest(
    settings: Iterable[BaseModel], weights: Iterable[Tensor], images: LabelledPictures
) -> str:
    """Identifies a training.

    Args:
        settings: the model's configuration and the recipe.
        weights: initial ones.
        images: to train on.
    """
    digest = hashlib.sha256()
    for part in settings:
        digest.update(part.model_dump_json().encode())
    for value in weights:
        digest.update(value.cpu().contiguous().numpy().tobytes())
    digest.update(np.ascontiguousarray(images.pixels).data)
    digest.update(np.ascontiguousarray(images.labels).data)
    return digest.hexdigest()


class TrainingFolder:
    """The folder of one training.

    Args:
        root: OUT/training.
        digest: of the training, see `training_digest`.
        save_every_s: seconds between saved states; the end of an epoch is always saved.
    """

    def __init__(self, root: Path, digest: str, save_every_s: float) -> None:
        self.root, self.digest, self._save_every_s = root, digest, save_every_s
        self._next_save = time.monotonic() + save_every_s
        self._num_saved_epochs = 0
        self._state = root / "state.pt"
        self.curve = LearningCurve(root)

    def resume(self, trainer: Resumable) -> bool:
        """Restores the last saved state; returns False if there is none.

        Raises:
            UsageError: the folder holds another training, or its state is damaged.
        """
        try:
            saved = torch.load(self._state, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return False
        except (RuntimeError, ValueError, OSError, EOFError, UnpicklingError) as error:
            raise UsageError(
                f"out: {self._state} is damaged; --overwrite starts from the beginning"
            ) from error
        if saved["digest"] != self.digest:
            raise UsageError(
                f"out: {self.root.parent} holds another training (other model, recipe, data or "
                "initial weights); choose another folder, or --overwrite it"
            )
        trainer.load_state_dict(saved["trainer"])
        self._num_saved_epochs = len(trainer.results)
        return True

    def discard_state(self) -> None:
        """Deletes the saved state, so that the training starts from the beginning."""
        self._state.unlink(missing_ok=True)

    def save_if_due(self, trainer: Resumable) -> None:
        """Saves the state at the end of every epoch, and after `save_every_s` seconds."""
        num_epochs = len(trainer.results)
        if num_epochs > self._num_saved_epochs or time.monotonic() >= self._next_save:
            self.save(trainer)

    def save(self, trainer: Resumable) -> None:
        """Saves the state atomically, and the curve after a new epoch."""
        self.root.mkdir(parents=True, exist_ok=True)
        state = {"digest": self.digest, "trainer": trainer.state_dict()}
        with atomic_write(self._state) as partial:
            torch.save(state, partial)
        if len(trainer.results) > self._num_saved_epochs:
            self.curve.write(trainer.results)
        self._num_saved_epochs = len(trainer.results)
        self._next_save = time.monotonic() + self._save_every_s

    def write_validation(self, images: LabelledPictures) -> None:
        """Writes held-out images losslessly at the model's size, for `dvt eval --data`.

        Images without classes get no labels.
        """
        rows: list[dict[str, Any]] = [
            {"key": key, "image": _png(pixels)}
            for key, pixels in zip(images.keys, images.pixels, strict=True)
        ]
        if images.names:
            for row, label in zip(rows, images.labels, strict=True):
                row["label_name"] = images.names[label]
        self.root.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.root / "validation.parquet") as partial:
            pq.write_table(pa.Table.from_pylist(rows), partial)


def _png(pixels: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()
