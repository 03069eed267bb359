"""A labelled data set in memory, for training and for small evaluations."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from jobs.datasets.base import Label, LabelledSource
from jobs.datasets.classes import ClassIds, names_in
from jobs.datasets.opening import open_labelled, open_pictures
from pipeline.decoding import DecodeSettings
from pipeline.errors import UsageError

__all__ = ["LabelledPictures", "check_labels", "check_readable", "load_labelled", "load_pictures"]


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """Decoded images with class ids.

    Attributes:
        pixels: [N, S, S, 3] uint8.
        labels: [N] int64, indices into `names`; zeros without names.
        names: of the classes; empty for unlabelled images.
        num_unreadable: images that were left out.
        keys: of the images.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    num_unreadable: int
    keys: tuple[str, ...] = ()

    def split(self, num_held_out: int) -> tuple["LabelledPictures", "LabelledPictures"]:
        """The images to train on, and as many held-out ones, chosen by the hashes of their keys.

        Raises:
            UsageError: no image would be left to train on.
        """
        if num_held_out >= len(self.labels):
            raise UsageError(
                f"validation-images: must be less than the {len(self.labels):,} images of the data "
                f"(got {num_held_out:,})"
            )
        hashes = [blake2b(key.encode("utf-8", "surrogateescape")).digest() for key in self.keys]
        is_held_out = np.zeros(len(self.labels), dtype=bool)
        is_held_out[sorted(range(len(hashes)), key=hashes.__getitem__)[:num_held_out]] = True
        return self._rows(~is_held_out), self._rows(is_held_out)

    def _rows(self, mask: NDArray[np.bool_]) -> "LabelledPictures":
        rows = np.flatnonzero(mask)
        keys = tuple(self.keys[row] for row in rows)
        return LabelledPictures(self.pixels[rows], self.labels[rows], self.names, 0, keys)


def load_labelled(
    data: str, settings: DecodeSettings, names: Sequence[str] | None = None
) -> LabelledPictures:
    """Loads a data set.

    Args:
        data: see the package's docstring.
        settings: of the model.
        names: the model's classes, which define the ids; None to take those of the data.

    Raises:
        UsageError: there is no such data set, or it has a class that `names` lacks.
    """
    source = open_labelled(data)
    if names is not None:
        check_labels(source, ClassIds.of_model(len(names), names))
    pixels, labels, keys, num_unreadable = _decoded(source, data, settings)
    known = tuple(names or source.class_names or names_in(labels))
    ids = ClassIds.of_model(len(known), known)
    numbers = np.array([ids.id_of(label) for label in labels], dtype=np.int64)
    return LabelledPictures(pixels, numbers, known, num_unreadable, keys)


def load_pictures(data: str, settings: DecodeSettings) -> LabelledPictures:
    """Loads images of any archive, without labels.

    Args:
        data: a data set, or what `dvt tag` takes.
        settings: of the model.

    Raises:
        UsageError: there is no such archive.
    """
    pixels, labels, keys, num_unreadable = _decoded(open_pictures(data), data, settings)
    return LabelledPictures(pixels, np.zeros(len(labels), np.int64), (), num_unreadable, keys)


def _decoded(
    source: LabelledSource, data: str, settings: DecodeSettings
) -> tuple[NDArray[np.uint8], list[Label], tuple[str, ...], int]:
    """Pixels, labels and keys of the readable images, and the number of the others."""
    batches = deque(source.batches(settings))
    labels = [label for batch in batches for label in batch.labels]
    keys = tuple(key for batch in batches for key in batch.keys)
    num_unreadable = sum(batch.num_unreadable for batch in batches)
    check_readable(data, len(labels), num_unreadable)
    pixels = np.empty((len(labels), settings.crop, settings.crop, 3), np.uint8)
    num_copied = 0
    while batches:  # frees each batch once it is copied
        batch = batches.popleft()
        pixels[num_copied : num_copied + len(batch.keys)] = batch.pixels
        num_copied += len(batch.keys)
    return pixels, labels, keys, num_unreadable


def check_labels(source: LabelledSource, ids: ClassIds) -> int | None:
    """Refuses unknown classes before any image is decoded, if the format allows that.

    Returns:
        Number of labelled images; None if only decoding shows it.

    Raises:
        UsageError: the model lacks a class.
    """
    labels = source.labels()
    return None if labels is None else sum(ids.id_of(label) >= 0 for label in labels)


def check_readable(data: str, num_readable: int, num_unreadable: int) -> None:
    """Refuses a data set without a single usable image.

    Raises:
        UsageError: there is none, or none can be read.
    """
    if num_readable == 0 and num_unreadable == 0:
        raise UsageError(f"data: no labelled images in {data}")
    if num_readable == 0:
        raise UsageError(f"data: none of the {num_unreadable:,} images in {data} can be read")
