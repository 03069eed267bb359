"""The drawn shapes as a data set without files."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import numpy as np

from jobs.datasets.base import DecodedBatch, Label, LabelledSource, Sample
from jobs.parallel import map_in_order
from jobs.shapes import CLASSES, label_of, render
from pipeline.decoding import DecodeSettings, fit
from pipeline.records import ImageRecord

__all__ = ["DrawnShapes"]

_IMAGES_PER_BATCH = 64


@dataclass(frozen=True, slots=True)
class DrawnShapes(LabelledSource):
    """The first images of one seed; keys are SEED/INDEX."""

    num_pictures: int
    seed: int
    class_names = CLASSES

    def labels(self) -> Iterator[Label]:
        """See `LabelledSource.labels`."""
        return (Label(label_of(self.seed, index)) for index in range(self.num_pictures))

    def samples(self) -> Iterator[Sample]:
        """See `LabelledSource.samples`."""
        for index, label in enumerate(self.labels()):
            key = f"{self.seed}/{index}"
            yield Sample(ImageRecord(key, f"shapes:{key}", 0), label)

    def decode(self, samples: Iterable[Sample], settings: DecodeSettings) -> Iterator[DecodedBatch]:
        """See `LabelledSource.decode`; processes of their own draw."""
        remaining = iter(samples)
        batches = iter(lambda: list(islice(remaining, _IMAGES_PER_BATCH)), [])
        return map_in_order(partial(_draw, self.seed, settings), batches)


def _draw(seed: int, settings: DecodeSettings, samples: Sequence[Sample]) -> DecodedBatch:
    # Drawn at twice the size and resized by the engine, like a photograph.
    side = 2 * settings.resize
    pixels = np.empty((len(samples), settings.crop, settings.crop, 3), np.uint8)
    for row, sample in enumerate(samples):
        index = int(sample.key.partition("/")[2])
        pixels[row] = fit(render(seed, index, side, side).image, settings)
    keys = tuple(sample.key for sample in samples)
    return DecodedBatch(pixels, keys, tuple(sample.label for sample in samples), 0)
