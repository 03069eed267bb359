"""Exits of a simulated cascade, of which any number of images can be drawn.

An image is its class, how clearly it shows, and noise that partly repeats from exit to exit; every
exit sees the class more sharply than the one before. Confidences are a little too high, as trained
networks' are.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["simulated_exits"]

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
