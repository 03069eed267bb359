"""A data set in files: an archive of the engine, and a label for each of its images.

Listing, fetching and decoding are those of `dvt tag`, so a model is trained and judged on the
pixels that it will see, and damaged or hostile files cost one image each.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from jobs.datasets.base import DecodedBatch, Label, LabelledSource, Sample
from pipeline.decoding import DecodeSettings, IsolatedDecoder
from pipeline.errors import ImageError, UsageError
from pipeline.records import ImageRecord, Unreadable
from pipeline.sources import Fetcher, Source
from pipeline.sources.keys import with_unique_keys

__all__ = ["LabelledArchive"]

_IMAGES_PER_BATCH = 64
_BYTES_PER_BATCH = 32 * 2**20


@dataclass(frozen=True, slots=True)
class LabelledArchive(LabelledSource):
    """The labelled images of an archive.

    Args:
        source: lists the images.
        fetcher: reads their bytes.
        label_of: the label of an image; None leaves the image out.
        has_cheap_labels: labels can be read without unpacking images.
    """

    source: Source
    fetcher: Fetcher
    label_of: Callable[[ImageRecord], Label | None]
    has_cheap_labels: bool = True

    def labels(self) -> Iterator[Label] | None:
        """See `LabelledSource.labels`."""
        if not self.has_cheap_labels:
            return None
        return (sample.label for sample in self.samples())

    def samples(self) -> Iterator[Sample]:
        """See `LabelledSource.samples`.

        Raises:
            UsageError: a tar or Parquet file is damaged, so that its labels are incomplete.
        """
        for image in with_unique_keys(self.source.list_images()):
            if isinstance(image.part, Unreadable) and image.key.endswith("/"):
                raise UsageError(f"data: {image.part.file}: {image.part.detail}")
            label = self.label_of(image)
            if label is not None:
                yield Sample(image, label)

    def decode(self, samples: Iterable[Sample], settings: DecodeSettings) -> Iterator[DecodedBatch]:
        """See `LabelledSource.decode`; one child process a core decodes.

        The calling thread fetches, so that files that can only be read forward are read once.
        """
        thread = threading.local()
        num_threads = os.cpu_count() or 1
        pool = ThreadPoolExecutor(num_threads, "decode")
        running: deque[Future[DecodedBatch]] = deque()

        def decode(batch: list[Sample], contents: list[bytes | ImageError]) -> DecodedBatch:
            if not hasattr(thread, "decoder"):
                thread.decoder = IsolatedDecoder(settings)
            pixels, outcomes = thread.decoder.decode_all(contents, len(batch))
            readable = [
                sample
                for sample, outcome in zip(batch, outcomes, strict=True)
                if not isinstance(outcome, ImageError)
            ]
            return DecodedBatch(
                pixels.copy(),  # the decoder reuses its memory
                tuple(sample.key for sample in readable),
                tuple(sample.label for sample in readable),
                len(batch) - len(readable),
            )

        try:
            for batch in _batches(samples):
                images = [sample.image for sample in batch]
                contents = list(self.fetcher.fetch_all(images, settings.max_bytes))
                running.append(pool.submit(decode, batch, contents))
                if len(running) > 2 * num_threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Samples in batches of bounded length and size."""
    batch: list[Sample] = []
    num_bytes = 0
    for sample in samples:
        batch.append(sample)
        num_bytes += sample.image.size_bytes
        if len(batch) == _IMAGES_PER_BATCH or num_bytes > _BYTES_PER_BATCH:
            yield batch
            batch, num_bytes = [], 0
    if batch:
        yield batch
