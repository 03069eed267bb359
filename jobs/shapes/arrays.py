"""Labelled pictures in memory, for training and tests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from jobs.shapes.paint import check_size, render
from jobs.shapes.workers import in_chunks

__all__ = ["ShapeArrays", "write_arrays"]

_CHUNK = 128


@dataclass(frozen=True, slots=True)
class ShapeArrays:
    """A data set in memory.

    Attributes:
        images: uint8 [N, size, size, 3], RGB.
        labels: int64 [N], indices into `CLASSES`.
        difficulties: float32 [N], in 0..1.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    difficulties: NDArray[np.float32]


def write_arrays(
    num_images: int, seed: int, size: int, *, processes: int | None = None
) -> ShapeArrays:
    """Renders the first pictures of the data set `seed` as squares.

    Args:
        num_images: How many, at least 0.
        seed: Data set. Training and test sets take different seeds.
        size: Side in pixels, at least 16.
        processes: Processes to use; None for one a core.

    Raises:
        ValueError: If a number is out of its bounds.
    """
    if num_images < 0:
        raise ValueError(f"num_images must be at least 0, got {num_images}")
    check_size(size, size)
    images = np.empty((num_images, size, size, 3), np.uint8)
    labels = np.empty(num_images, np.int64)
    difficulties = np.empty(num_images, np.float32)
    done = 0
    for part in in_chunks(partial(_render_range, seed, size), num_images, _CHUNK, processes):
        here = slice(done, done + len(part.labels))
        images[here], labels[here] = part.images, part.labels
        difficulties[here] = part.difficulties
        done = here.stop
    return ShapeArrays(images, labels, difficulties)


def _render_range(seed: int, size: int, start: int, stop: int) -> ShapeArrays:
    samples = [render(seed, index, size, size) for index in range(start, stop)]
    return ShapeArrays(
        images=np.stack([np.asarray(sample.image) for sample in samples]),
        labels=np.array([sample.label_id for sample in samples], np.int64),
        difficulties=np.array([sample.difficulty for sample in samples], np.float32),
    )
