"""What every format of labelled pictures gives: a stream of samples."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.decoding import DecodeSettings, decode
from pipeline.errors import ImageError, Reason, UsageError
from pipeline.sources import read_file

__all__ = ["EncodedPicture", "FilePicture", "Label", "LabelledSource", "Picture", "Sample"]


@dataclass(frozen=True, slots=True)
class Label:
    """What the data say about a picture's class.

    Attributes:
        text: class name, WordNet id, or class id in decimal digits.
        number: class id that stands beside a name, which decides where the name does not.
    """

    text: str
    number: int | None = None

    @classmethod
    def of(cls, label: object, name: object = None) -> "Label | None":
        """From a field `label`, an id or a text, and a field `label_name`; None without either.

        Raises:
            UsageError: a field is of another type.
        """
        for field, value in (("label_name", name), ("label", label)):
            if isinstance(value, bool) or not isinstance(value, int | str | None):
                raise UsageError(f"data: {field} must be an integer or text (got {value!r})")
        number = label if isinstance(label, int) else None
        text = label if name is None else name
        return None if text is None else cls(str(text), number)


class Picture(Protocol):
    """A picture that is not decoded yet; travels to the worker processes, so it must pickle."""

    @property
    def num_bytes(self) -> int:
        """Memory that it takes while it waits."""
        ...

    def pixels(self, settings: DecodeSettings) -> NDArray[np.uint8]:
        """Pixels [S, S, 3] of the model's size.

        Raises:
            ImageError: it cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """A labelled picture; its key is the same on every machine."""

    key: str
    label: Label
    picture: Picture


class LabelledSource(Protocol):
    """A data set in one of the formats."""

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """All classes in order of their ids, if the format itself defines them."""
        ...

    def labels(self) -> Iterable[Label] | None:
        """Labels of all pictures, if they can be had without reading pictures."""
        ...

    def samples(self) -> Iterator[Sample]:
        """All labelled pictures as a stream, in the same order every time.

        Raises:
            UsageError: the data cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class FilePicture:
    """A file, read where it is decoded."""

    uri: str

    @property
    def num_bytes(self) -> int:
        """Next to nothing."""
        return 0

    def pixels(self, settings: DecodeSettings) -> NDArray[np.uint8]:
        """See `Picture.pixels`."""
        return decode(read_file(self.uri, settings.max_bytes), settings).pixels


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """The bytes of a file; None for what is missing or too large to be read."""

    content: bytes | None

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return len(self.content or b"")

    def pixels(self, settings: DecodeSettings) -> NDArray[np.uint8]:
        """See `Picture.pixels`."""
        if self.content is None:
            raise ImageError(Reason.FETCH_FAILED, "has no content, or too much of it")
        return decode(self.content, settings).pixels
