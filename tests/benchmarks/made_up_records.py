"""Records of made-up models on a made-up population of images, for tests of the evidence."""

import numpy as np
from numpy.typing import NDArray

from benchmarks.evidence.recording import RecordedModel
from dvt.calibration import RecordedExits
from jobs.datasets import LabelledPictures

__all__ = ["CLASSES", "COSTS", "made_up_model"]

CLASSES = ("cat", "dog", "ship")
COSTS = (0.005, 0.02, 0.06)


def made_up_model(
    name: str,
    qualities: tuple[float, ...],
    num_images: int = 160,
    costs: tuple[float, ...] = COSTS,
    seed: int = 1,
) -> RecordedModel:
    """A model whose exits are better, the higher their quality.

    All models with the same seed and number of images see the same images.
    """
    held_out, test = (_images(seed + offset, num_images) for offset in (0, 1))
    return RecordedModel(
        name=name,
        facts={
            "preset": "made_up",
            "num_parameters": 1_000_000,
            "tokens": list(range(4, 4 + len(qualities))),
            "num_epochs": 3,
            "train_seconds": 60.0,
        },
        gmacs_per_exit=costs,
        thresholds=(0.8, 0.7) if len(costs) == 3 else None,
        held_out=held_out,
        test=test,
        held_out_exits=_exits(name, seed, held_out.labels, qualities),
        test_exits=_exits(name, seed + 1, test.labels, qualities),
    )


def _images(seed: int, num_images: int) -> LabelledPictures:
    labels = np.random.default_rng(seed).integers(0, len(CLASSES), num_images)
    pixels = np.full((num_images, 1, 1, 3), seed, np.uint8)
    return LabelledPictures(pixels, labels, CLASSES, 0, tuple(map(str, range(num_images))))


def _exits(
    name: str, seed: int, labels: NDArray[np.int64], qualities: tuple[float, ...]
) -> RecordedExits:
    """Images differ in difficulty, which all exits and all models share."""
    generator, num_images = np.random.default_rng(100 + seed), len(labels)
    difficulty, luck = generator.normal(size=num_images), generator.random(num_images)
    chance = 1 / len(CLASSES)
    right = np.stack(
        [chance + (1 - chance) / (1 + np.exp(-3 * (each - difficulty))) for each in qualities]
    )
    correct = luck < right
    return RecordedExits(
        confidences=right.astype(np.float32),
        agrees=correct == correct[-1],
        correct=correct,
        in_second_half=np.arange(num_images) % 2 == 0,
        model_digest=f"digest of {name}",
        dtype="float32",
        data="made up",
    )
