"""Exits of a simulated cascade on any number of images.

An image has a class, a clearness, and noise that is partly the same at all exits. Each exit sees
the class more sharply than the one before. Confidences are slightly too high, as those of trained
networks are.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dvt.calibration import RecordedExits, Risk

__all__ = ["recorded_exits", "simulated_exits", "simulated_record"]

Exits = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]


def simulated_exits(
    seed: int, num_images: int, sharpness: Sequence[float] = (2.0, 2.6, 3.2), num_classes: int = 10
) -> Exits:
    """Confidences, correctness and agreement with the last exit, each [E, n]."""
    random = np.random.default_rng(seed)
    rows = np.arange(num_images)
    clearness = random.gamma(3, 1 / 3, num_images)
    classes = random.integers(0, num_classes, num_images)
    repeated = random.standard_normal((num_images, num_classes))
    confidences, answers = [], []
    for sharp in sharpness:
        fresh = random.standard_normal((num_images, num_classes))
        seen = 0.8**0.5 * repeated + 0.2**0.5 * fresh
        seen[rows, classes] += sharp * clearness
        logits = 1.3 * sharp * seen
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        confidences.append(scores.max(axis=1) / scores.sum(axis=1))
        answers.append(scores.argmax(axis=1))
    answers_En = np.stack(answers)
    return (
        np.stack(confidences).astype(np.float32),
        answers_En == classes,
        answers_En == answers_En[-1],
    )


def recorded_exits(
    confidences_En: NDArray[np.float32],
    right_En: NDArray[np.bool_],
    of: Risk,
    num_first: int | None = None,
) -> RecordedExits:
    """A record in which only the answers that count for a risk are known.

    The first half has `num_first` images, by default all of them.
    """
    num_images = confidences_En.shape[1]
    return RecordedExits(
        confidences_En,
        right_En if of == "agreement" else np.ones_like(right_En),
        None if of == "agreement" else right_En,
        np.arange(num_images) >= (num_images if num_first is None else num_first),
        model_digest="simulated",
        dtype="float32",
        data="simulated images",
    )


def simulated_record(
    seed: int, num_images: int, of: Risk, sharpness: Sequence[float] = (2.0, 2.6, 3.2)
) -> RecordedExits:
    """A record of simulated images, half of them in each half."""
    confidences, correct, agrees = simulated_exits(seed, num_images, sharpness)
    return recorded_exits(
        confidences, agrees if of == "agreement" else correct, of, num_images // 2
    )
