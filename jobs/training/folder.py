"""What `dvt train` keeps beside the checkpoint that it makes, in OUT/training/.

state.pt          everything that goes on after a kill; replaced as a whole
curve.jsonl       one line an epoch
curve.svg         the same, drawn
tensorboard/      the same, for TensorBoard
validation.parquet  the pictures held out of the training data, for calibration and tests
"""

import hashlib
import io
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from dvt.cascade import Cascade
from dvt.training import EpochResult, Trainer, TrainingRecipe
from jobs.datasets import LabelledPictures
from jobs.training.tensorboard import TensorBoardEvents
from pipeline.errors import UsageError

__all__ = ["TrainingFolder", "training_digest"]

_FORMAT = 1


def training_digest(model: Cascade, recipe: TrainingRecipe, pictures: LabelledPictures) -> str:
    """A name for exactly this training: the initial model, the recipe, and the data.

    Fields that have their defaults are left out, so that new ones change no name.
    """
    digest = hashlib.sha256()
    for settings in (model.config, recipe):
        digest.update(settings.model_dump_json(exclude_defaults=True).encode())
    for value in model.state_dict().values():
        digest.update(value.cpu().contiguous().numpy().tobytes())
    digest.update(np.ascontiguousarray(pictures.pixels).data)
    digest.update(np.ascontiguousarray(pictures.labels).data)
    return digest.hexdigest()


class TrainingFolder:
    """The folder of one training.

    Args:
        root: OUT/training.
        digest: of the training, see `training_digest`.
        save_every_s: seconds between two saved states; an epoch's end is always saved.
    """

    def __init__(self, root: Path, digest: str, save_every_s: float) -> None:
        self.root, self.digest, self._save_every_s = root, digest, save_every_s
        self._next_save = time.monotonic() + save_every_s
        self._num_saved_epochs = 0
        self._num_drawn_epochs = 0
        self._events = TensorBoardEvents(root / "tensorboard")

    @property
    def _state(self) -> Path:
        return self.root / "state.pt"

    def resume(self, trainer: Trainer) -> bool:
        """Takes the trainer to where an earlier run stopped; False if there was none.

        Raises:
            UsageError: the folder holds another training, or its state is damaged.
        """
        try:
            kept = torch.load(self._state, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return False
        except (RuntimeError, ValueError, OSError, EOFError, UnpicklingError) as error:
            raise UsageError(f"out: {self._state} is damaged; --overwrite starts anew") from error
        if (kept["format"], kept["digest"]) != (_FORMAT, self.digest):
            raise UsageError(
                f"out: {self.root.parent} holds another training (other model, recipe, data or "
                "start); choose another folder, or --overwrite it"
            )
        trainer.load_state_dict(kept["trainer"])
        self._num_saved_epochs = len(trainer.results)
        return True

    def forget(self) -> None:
        """Starts anew."""
        self._state.unlink(missing_ok=True)

    def save_if_due(self, trainer: Trainer) -> None:
        """Keeps the state at the end of every epoch, and in between when it is time."""
        num_epochs = len(trainer.results)
        if num_epochs > self._num_saved_epochs or time.monotonic() >= self._next_save:
            self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Keeps the state, so that a kill at any moment leaves the old one or the new one."""
        self.root.mkdir(parents=True, exist_ok=True)
        state = {"format": _FORMAT, "digest": self.digest, "trainer": trainer.state_dict()}
        content = io.BytesIO()
        torch.save(state, content)
        _replace(self._state, content.getvalue())
        if len(trainer.results) > self._num_saved_epochs:
            self.write_curve(trainer.results)
        self._num_saved_epochs = len(trainer.results)
        self._next_save = time.monotonic() + self._save_every_s

    def write_curve(self, results: Sequence[EpochResult]) -> None:
        """Writes the learning curve so far, unless this process has done it."""
        if len(results) == self._num_drawn_epochs:
            return
        self._num_drawn_epochs = len(results)
        self._events.write(results)
        lines = [json.dumps(asdict(result)) for result in results]
        _replace(self.root / "curve.jsonl", "".join(f"{line}\n" for line in lines).encode())
        drawing = _drawn(results)
        if drawing is not None:
            _replace(self.root / "curve.svg", drawing)

    def close(self) -> None:
        """Closes what is open."""
        self._events.close()

    def write_validation(self, pictures: LabelledPictures) -> None:
        """Held-out pictures at the model's size, without loss, as `dvt eval --data` reads them."""
        rows = [
            {"key": key, "image": _png(pixels), "label_name": pictures.names[label]}
            for key, pixels, label in zip(
                pictures.keys, pictures.pixels, pictures.labels, strict=True
            )
        ]
        self.root.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), content)
        _replace(self.root / "validation.parquet", content.getvalue())


def _png(pixels: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _drawn(results: Sequence[EpochResult]) -> bytes | None:
    """Loss and accuracies over the epochs; None without matplotlib, an extra."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return None
    epochs = [result.epoch for result in results]
    with mpl.rc_context({"svg.hashsalt": "dvt", "font.size": 10}):
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(epochs, [result.loss for result in results], marker=".")
        left.set_ylabel("training loss, sum over exits")
        for number in range(len(results[0].accuracy_per_exit)):
            accuracies = [100 * result.accuracy_per_exit[number] for result in results]
            right.plot(epochs, accuracies, marker=".", label=f"exit {number + 1}")
        right.set_ylabel("validation accuracy, %")
        right.legend(frameon=False)
        for axes in (left, right):
            axes.set_xlabel("epoch")
            axes.grid(alpha=0.3)
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()
