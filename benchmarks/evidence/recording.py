"""Records the exits of a trained model on held-out and test images, in float32."""

import json
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

import dvt
from dvt.calibration import RecordedExits, Thresholds
from jobs.datasets import LabelledPictures, load_labelled
from jobs.evaluation.recorder import ExitRecorder
from pipeline.decoding import DecodeSettings
from pipeline.errors import UsageError
from pipeline.runtime.resource_plan import decode_settings

__all__ = ["RecordedModel", "data_facts", "load_images", "record_model"]


@dataclass(frozen=True, slots=True)
class RecordedModel:
    """A trained model with its exits on both sets of images.

    Attributes:
        name: see `models`.
        facts: preset, size and training.
        gmacs_per_exit: cumulative cost of each exit.
        thresholds: default thresholds; None if it has none.
        held_out: images that were held out of its training.
        test: images to evaluate on.
        held_out_exits: recorded exits.
        test_exits: recorded exits.
    """

    name: str
    facts: dict[str, Any]
    gmacs_per_exit: tuple[float, ...]
    thresholds: Thresholds | None
    held_out: LabelledPictures
    test: LabelledPictures
    held_out_exits: RecordedExits
    test_exits: RecordedExits


def record_model(name: str, folder: Path, data: Path) -> RecordedModel:
    """Runs a model to full depth over both sets of images.

    Args:
        name: see `models`.
        folder: of the trained model, with training/validation.parquet.
        data: file of labelled test images.

    Raises:
        UsageError: images are missing or unreadable, or have a class that the model lacks.
        ModelError: the model cannot be used.
    """
    model = dvt.load_cascade(folder)
    config = model.config
    settings = decode_settings(model.spec)
    held_out = load_images(folder / "training" / "validation.parquet", settings, model.labels)
    test = load_images(data, settings, model.labels)
    recorder = ExitRecorder(model, torch.float32)
    epochs, seconds = _training(folder / "training" / "curve.jsonl")
    return RecordedModel(
        name=name,
        facts={
            "preset": config.name,
            "num_parameters": sum(weight.numel() for weight in model.parameters()),
            "tokens": [grid.size for grid in config.grids],
            "num_epochs": epochs,
            "train_seconds": seconds,
        },
        gmacs_per_exit=model.spec.gmacs_per_exit,
        thresholds=model.calibration.thresholds,
        held_out=held_out,
        test=test,
        held_out_exits=recorder.record_images(held_out, "validation.parquet"),
        test_exits=recorder.record_images(test, data.name),
    )


@cache
def load_images(
    path: Path, settings: DecodeSettings, labels: tuple[str, ...] | None
) -> LabelledPictures:
    """Labelled images of a file, in memory.

    Raises:
        UsageError: the file is missing, has unreadable images, or a class that `labels` lacks.
    """
    if not path.is_file():
        raise UsageError(f"data: {path} must be a file of labelled images")
    images = load_labelled(str(path), settings, labels)
    if images.num_unreadable:
        raise UsageError(f"data: {path} has {images.num_unreadable} unreadable images")
    return images


def data_facts(name: str, images: LabelledPictures) -> dict[str, Any]:
    """Name, number and digest of images and their labels."""
    digest = sha256(images.pixels.data)
    digest.update(images.labels.data)
    return {"name": name, "num_images": len(images.labels), "digest": digest.hexdigest()[:16]}


def _training(curve: Path) -> tuple[int | None, float | None]:
    """Epochs and seconds of a training, from its curve."""
    if not curve.is_file():
        return None, None
    epochs = [json.loads(line) for line in curve.read_text(encoding="utf-8").splitlines()]
    return len(epochs), round(sum(epoch["seconds"] for epoch in epochs), 1)
