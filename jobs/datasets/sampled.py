"""Random samples of a data set, the same on every machine."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from jobs.datasets.base import DecodedBatch, LabelledSource, Sample
from pipeline.decoding import DecodeSettings

__all__ = ["Sampled"]


@dataclass(frozen=True, slots=True)
class Sampled(LabelledSource):
    """At most `num_pictures` samples of a data set, drawn by their keys alone."""

    source: LabelledSource
    num_pictures: int

    def samples(self) -> Iterator[Sample]:
        """See `LabelledSource.samples`; in the order of the data set."""
        samples = enumerate(self.source.samples())
        drawn = heapq.nsmallest(self.num_pictures, samples, key=lambda item: _hash(item[1]))
        return (sample for _, sample in sorted(drawn, key=lambda item: item[0]))

    def decode(self, samples: Iterable[Sample], settings: DecodeSettings) -> Iterator[DecodedBatch]:
        """See `LabelledSource.decode`."""
        return self.source.decode(samples, settings)


def _hash(sample: Sample) -> bytes:
    key = sample.key.encode("utf-8", "surrogateescape")
    return blake2b(key, digest_size=8, person=b"sample").digest()
