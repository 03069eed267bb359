"""Pictures whose labels are not looked at, and random samples of any pictures."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from jobs.datasets.base import Label, LabelledSource, Sample
from jobs.datasets.folder import ClassFolders
from jobs.datasets.opening import open_labelled
from pipeline.decoding import DecodeSettings, decode
from pipeline.errors import ImageError
from pipeline.records import ImageRecord
from pipeline.sources import Archive, Fetcher, open_archive

__all__ = ["Sampled", "open_pictures"]

_NO_LABEL = Label("")


@dataclass(frozen=True, slots=True)
class _FetchedPicture:
    """One image of an archive, fetched where it is decoded."""

    fetcher: Fetcher
    image: ImageRecord
    num_bytes = 0

    def pixels(self, settings: DecodeSettings) -> NDArray[np.uint8]:
        (content,) = self.fetcher.fetch_all([self.image], settings.max_bytes)
        if isinstance(content, ImageError):
            raise content
        return decode(content, settings).pixels


@dataclass(frozen=True, slots=True)
class _Archive:
    """Everything that `dvt tag` would tag."""

    source: Archive
    class_names = None

    def labels(self) -> None:
        return None

    def samples(self) -> Iterator[Sample]:
        for image in self.source.list_images():
            yield Sample(image.key, _NO_LABEL, _FetchedPicture(self.source.fetcher, image))


@dataclass(frozen=True, slots=True)
class Sampled:
    """A random part of a data set: the same pictures on every machine, by their keys alone.

    Memory holds the pictures that were drawn; of files, their names.
    """

    source: LabelledSource
    num_pictures: int

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """See `LabelledSource.class_names`."""
        return self.source.class_names

    def labels(self) -> None:
        """Not known before all are listed."""
        return None

    def samples(self) -> Iterator[Sample]:
        """At most so many pictures, in order of their keys."""
        drawn = heapq.nsmallest(self.num_pictures, self.source.samples(), key=_lot)
        yield from sorted(drawn, key=lambda sample: sample.key)


def _lot(sample: Sample) -> bytes:
    key = sample.key.encode("utf-8", "surrogateescape")
    return blake2b(key, digest_size=8, person=b"sample").digest()


def open_pictures(data: str, max_bytes: int) -> LabelledSource:
    """Any pictures: a data set as `open_labelled` takes it, or what `dvt tag` takes.

    Raises:
        UsageError: there is nothing of that name, or it is of no known format.
    """
    if "://" not in data:
        source = open_labelled(data, max_bytes)
        if not isinstance(source, ClassFolders):
            return source
        data = str(Path(data).expanduser())
    return _Archive(open_archive([data]))
