"""What a labelled data set is: samples of image and label, and their pixels."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from pipeline.decoding import DecodeSettings
from pipeline.errors import UsageError
from pipeline.records import ImageRecord

__all__ = ["DecodedBatch", "Label", "LabelledSource", "Sample", "in_batches"]


@dataclass(frozen=True, slots=True)
class Label:
    """What the data say about the class of an image.

    Attributes:
        text: class name, WordNet id, or class id in decimal digits.
        number: class id beside a name; decides where the name is ambiguous.
    """

    text: str
    number: int | None = None

    @classmethod
    def of(cls, label: object, name: object = None) -> "Label | None":
        """From a field `label`, an id or a text, and a field `label_name`; None without either.

        Raises:
            UsageError: a field has another type.
        """
        for field, value in (("label_name", name), ("label", label)):
            if isinstance(value, bool) or not isinstance(value, int | str | None):
                raise UsageError(f"data: {field} must be an integer or text (got {value!r})")
        number = label if isinstance(label, int) else None
        text = label if name is None else name
        return None if text is None else cls(str(text), number)


@dataclass(frozen=True, slots=True)
class Sample:
    """An image and its label."""

    image: ImageRecord
    label: Label

    @property
    def key(self) -> str:
        """Unique in the data set, and the same on every machine."""
        return self.image.key


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """Consecutive samples.

    Attributes:
        pixels: [n, S, S, 3] uint8, of the readable images.
        keys: of the same.
        labels: of the same.
        num_unreadable: images that were left out.
    """

    pixels: NDArray[np.uint8]
    keys: tuple[str, ...]
    labels: tuple[Label, ...]
    num_unreadable: int

    @classmethod
    def join(cls, batches: Sequence["DecodedBatch"]) -> "DecodedBatch":
        """Several batches, at least one, as one."""
        return cls(
            np.concatenate([batch.pixels for batch in batches]),
            tuple(chain.from_iterable(batch.keys for batch in batches)),
            tuple(chain.from_iterable(batch.labels for batch in batches)),
            sum(batch.num_unreadable for batch in batches),
        )

    def split(self, at: int) -> tuple["DecodedBatch", "DecodedBatch"]:
        """The first images, with the count of unreadable ones, and the rest."""
        first = DecodedBatch(
            self.pixels[:at], self.keys[:at], self.labels[:at], self.num_unreadable
        )
        return first, DecodedBatch(self.pixels[at:], self.keys[at:], self.labels[at:], 0)


class LabelledSource(ABC):
    """A data set.

    Attributes:
        class_names: all classes in the order of their ids, if the format defines them.
    """

    class_names: tuple[str, ...] | None = None

    def labels(self) -> Iterator[Label] | None:
        """Labels of all samples, if they can be read without decoding or unpacking images."""
        return None

    @abstractmethod
    def samples(self) -> Iterator[Sample]:
        """Streams all labelled images, in the same order every time.

        Raises:
            UsageError: the data cannot be read.
        """

    @abstractmethod
    def decode(self, samples: Iterable[Sample], settings: DecodeSettings) -> Iterator[DecodedBatch]:
        """Decodes samples of this data set ahead on all cores, in order, in bounded memory.

        Args:
            samples: some or all.
            settings: of the model.
        """

    def batches(self, settings: DecodeSettings) -> Iterator[DecodedBatch]:
        """All samples, decoded."""
        return self.decode(self.samples(), settings)


def in_batches(parts: Iterable[DecodedBatch], size: int) -> Iterator[DecodedBatch]:
    """The same samples in parts of whole batches; only the last part may be smaller."""
    held: list[DecodedBatch] = []
    for part in parts:
        held.append(part)
        num_held = sum(len(part.keys) for part in held)
        if num_held >= size:
            whole, rest = DecodedBatch.join(held).split(num_held // size * size)
            yield whole
            held = [rest]
    if held:
        yield DecodedBatch.join(held)
