"""Labelled samples as pixels: a stream decoded by all cores, or a whole data set in memory."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from jobs.datasets.base import Label, LabelledSource, Sample
from jobs.datasets.classes import ClassIds, names_in
from jobs.datasets.opening import open_labelled
from jobs.parallel import map_in_order
from pipeline.decoding import DecodeSettings
from pipeline.errors import ImageError, UsageError

__all__ = [
    "DecodedPart",
    "LabelledPictures",
    "check_labels",
    "check_readable",
    "decoded_parts",
    "load_labelled",
]

# What goes to a worker process at once, and comes back: 64 pictures of 224 px are 10 MB.
_PICTURES_A_PIECE = 64
_BYTES_A_PIECE = 32 * 2**20


@dataclass(frozen=True, slots=True)
class DecodedPart:
    """Consecutive samples.

    Attributes:
        pixels: [n, S, S, 3] uint8, of those that could be read.
        keys: of the same.
        labels: of the same.
        num_unreadable: of those that could not.
    """

    pixels: NDArray[np.uint8]
    keys: tuple[str, ...]
    labels: tuple[Label, ...]
    num_unreadable: int

    @classmethod
    def join(cls, parts: Sequence["DecodedPart"]) -> "DecodedPart":
        """Several parts, at least one, as one."""
        return cls(
            np.concatenate([part.pixels for part in parts]),
            tuple(chain.from_iterable(part.keys for part in parts)),
            tuple(chain.from_iterable(part.labels for part in parts)),
            sum(part.num_unreadable for part in parts),
        )

    def split(self, at: int) -> tuple["DecodedPart", "DecodedPart"]:
        """The first pictures with the count of unreadable ones, and the rest."""
        first = DecodedPart(self.pixels[:at], self.keys[:at], self.labels[:at], self.num_unreadable)
        return first, DecodedPart(self.pixels[at:], self.keys[at:], self.labels[at:], 0)


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """A data set in memory.

    Attributes:
        pixels: [N, S, S, 3] uint8.
        labels: [N] int64, indices into `names`.
        names: of the classes.
        num_unreadable: pictures that were left out.
        keys: of the pictures.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    num_unreadable: int
    keys: tuple[str, ...] = ()

    def split(self, num_held_out: int) -> tuple["LabelledPictures", "LabelledPictures"]:
        """All but that many, and these; which ones, the hashes of their keys decide.

        Raises:
            UsageError: there are not more pictures than that.
        """
        if num_held_out >= len(self.labels):
            raise UsageError(
                f"validation-images: must be less than the {len(self.labels):,} pictures there are "
                f"(got {num_held_out:,})"
            )
        hashes = [blake2b(key.encode("utf-8", "surrogateescape")).digest() for key in self.keys]
        is_held_out = np.zeros(len(self.labels), dtype=bool)
        is_held_out[sorted(range(len(hashes)), key=hashes.__getitem__)[:num_held_out]] = True
        kept, held_out = (self._rows(np.flatnonzero(rows)) for rows in (~is_held_out, is_held_out))
        return kept, held_out

    def _rows(self, rows: NDArray[np.int64]) -> "LabelledPictures":
        keys = tuple(self.keys[row] for row in rows)
        return LabelledPictures(self.pixels[rows], self.labels[rows], self.names, 0, keys)


def decoded_parts(source: LabelledSource, settings: DecodeSettings) -> Iterator[DecodedPart]:
    """All samples in order, decoded ahead by all cores; memory does not grow with their number.

    Args:
        source: of the samples.
        settings: size and interpolation of the model.

    Raises:
        UsageError: the data cannot be read.
    """
    return map_in_order(partial(_decoded, settings), _pieces(source.samples()))


def load_labelled(
    data: str, settings: DecodeSettings, names: Sequence[str] | None = None
) -> LabelledPictures:
    """Loads a data set.

    Args:
        data: see the package's text.
        settings: size and interpolation of the model.
        names: the model's classes, which give the label ids; None to take those of the data.

    Raises:
        UsageError: there is no such data set, or it has a class that `names` lacks.
    """
    source = open_labelled(data, settings.max_bytes)
    if names is not None:
        check_labels(source, ClassIds.of_model(len(names), names))
    parts = deque(decoded_parts(source, settings))
    labels = [label for part in parts for label in part.labels]
    keys = tuple(key for part in parts for key in part.keys)
    num_unreadable = sum(part.num_unreadable for part in parts)
    check_readable(data, len(labels), num_unreadable)
    known = tuple(names or source.class_names or names_in(labels))
    ids = ClassIds.of_model(len(known), known)
    pixels = np.empty((len(labels), settings.crop, settings.crop, 3), np.uint8)
    done = 0
    while parts:  # each is freed once it is copied, so that no two copies of all are held
        part = parts.popleft()
        pixels[done : done + len(part.keys)] = part.pixels
        done += len(part.keys)
    numbers = np.array([ids.id_of(label) for label in labels], dtype=np.int64)
    return LabelledPictures(pixels, numbers, known, num_unreadable, keys)


def check_labels(source: LabelledSource, ids: ClassIds) -> int | None:
    """Refuses unknown classes before any picture is read, where the format lets labels be read.

    Returns:
        Number of labelled pictures; None where only reading them all tells.

    Raises:
        UsageError: naming the first class that the model lacks.
    """
    labels = source.labels()
    return None if labels is None else sum(ids.id_of(label) >= 0 for label in labels)


def check_readable(data: str, num_readable: int, num_unreadable: int) -> None:
    """Refuses a data set without a single usable picture.

    Raises:
        UsageError: saying whether there is nothing, or nothing that can be read.
    """
    if num_readable == 0 and num_unreadable == 0:
        raise UsageError(f"data: no labelled images in {data}")
    if num_readable == 0:
        raise UsageError(f"data: none of the {num_unreadable:,} images in {data} can be read")


def _pieces(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Samples by the handful: few enough and small enough to be sent to another process."""
    piece: list[Sample] = []
    num_bytes = 0
    for sample in samples:
        piece.append(sample)
        num_bytes += sample.picture.num_bytes
        if len(piece) == _PICTURES_A_PIECE or num_bytes > _BYTES_A_PIECE:
            yield piece
            piece, num_bytes = [], 0
    if piece:
        yield piece


def _decoded(settings: DecodeSettings, samples: Sequence[Sample]) -> DecodedPart:
    pixels = np.empty((len(samples), settings.crop, settings.crop, 3), np.uint8)
    good: list[Sample] = []
    for sample in samples:
        try:
            pixels[len(good)] = sample.picture.pixels(settings)
        except ImageError:
            continue
        good.append(sample)
    return DecodedPart(
        pixels=pixels[: len(good)],
        keys=tuple(sample.key for sample in good),
        labels=tuple(sample.label for sample in good),
        num_unreadable=len(samples) - len(good),
    )
