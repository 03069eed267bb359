"""The drawn data set, without any file."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.datasets.base import Label, Sample
from jobs.shapes import CLASSES, label_of, render
from pipeline.decoding import DecodeSettings, fit

__all__ = ["DrawnShapes"]


@dataclass(frozen=True, slots=True)
class _DrawnPicture:
    seed: int
    index: int

    @property
    def num_bytes(self) -> int:
        return 0

    def pixels(self, settings: DecodeSettings) -> NDArray[np.uint8]:
        # Drawn at twice the size and resized by the engine, like a photograph would be.
        side = 2 * settings.resize
        return fit(render(self.seed, self.index, side, side).image, settings)


@dataclass(frozen=True, slots=True)
class DrawnShapes:
    """The first pictures of one seed."""

    num_pictures: int
    seed: int

    @property
    def class_names(self) -> tuple[str, ...]:
        """The fourteen shapes."""
        return CLASSES

    def labels(self) -> Iterator[Label]:
        """See `LabelledSource.labels`."""
        return (Label(label_of(self.seed, index)) for index in range(self.num_pictures))

    def samples(self) -> Iterator[Sample]:
        """See `LabelledSource.samples`; keys are SEED/INDEX."""
        for index, label in enumerate(self.labels()):
            yield Sample(f"{self.seed}/{index}", label, _DrawnPicture(self.seed, index))
