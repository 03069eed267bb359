"""Deterministic weights, inputs and scores behind the golden figures in this folder.

Nothing large is stored: every array is drawn from numpy's PCG64 generator with a fixed seed, so
the same bits come out on every machine. The figures belong to exactly these draws; do not edit.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = ["image", "scores", "weight"]


def weight(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Weight for one state-dict entry, seeded by its name alone."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    noise = rng.standard_normal(shape, dtype=np.float32)
    if name.endswith("weight") and len(shape) == 1:  # LayerNorm gain
        return 1 + np.float32(0.1) * noise
    if name.endswith("bias"):
        return np.float32(0.1) * noise
    if name.endswith("weight") and len(shape) >= 2:  # linear and convolution
        scaled: NDArray[np.float32] = (noise / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        return scaled
    if name.endswith(".w"):  # random features of the performer
        return np.float32(0.5) * noise
    return np.float32(0.2) * noise  # class tokens, position embeddings


def image(seed: int, size: int = 224) -> NDArray[np.float32]:
    """One already-normalised input image, [3, size, size]."""
    return np.random.default_rng(seed).standard_normal((3, size, size), dtype=np.float32)


def scores(
    seed: int, num_images: int, num_classes: int = 10
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Softmax scores [3, num_images, num_classes] of three exits, and labels [num_images]."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_images)
    difficulty = rng.exponential(1.0, num_images)
    exits = []
    for k in range(3):
        logits = rng.standard_normal((num_images, num_classes))
        logits[np.arange(num_images), labels] += 3.0 + 1.0 * k - 1.2 * difficulty
        e = np.exp(logits - logits.max(1, keepdims=True))
        exits.append((e / e.sum(1, keepdims=True)).astype(np.float32))
    return np.stack(exits), labels
