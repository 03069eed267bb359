"""The decode actor: fetches and decodes one block per call."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from pipeline.decoding import DecodedSize, DecodeSettings, IsolatedDecoder
from pipeline.errors import ImageError
from pipeline.logs import configure_worker_logging
from pipeline.records import ImageRecord, Unpredicted, info_table, unpredicted
from pipeline.sources.base import NOTHING_KEPT, Fetcher

__all__ = ["DecodeActor", "DecodeResult", "DecodedBlock"]


@dataclass(frozen=True, slots=True)
class DecodedBlock:
    """Decoded images of one shard; stays in the object store.

    Attributes:
        pixels: [n, S, S, 3] uint8.
        info: what else tags need, n rows (`records.info_table`).
    """

    pixels: NDArray[np.uint8]
    info: pa.Table


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """The small result of a call, for the coordinator.

    Attributes:
        decoded_rows: positions of the images that have pixels.
        unpredicted: dead letters and other files, in place of the rest.
        digests: of the bytes of the images that have pixels; empty if not asked for.
    """

    decoded_rows: list[int]
    unpredicted: list[Unpredicted]
    digests: list[bytes] = field(default_factory=list)


class DecodeActor:
    """Turns listed images into pixels.

    Args:
        fetcher: reads the files.
        settings: size of the pixels and limits.
        kept: columns of the source that tags repeat.
        digests: compute the digest of each file.
        child: module of the process that decodes.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        settings: DecodeSettings,
        kept: pa.Schema = NOTHING_KEPT,
        digests: bool = False,
        child: str = "pipeline.decoding.child",
    ) -> None:
        configure_worker_logging()
        self._fetcher = fetcher
        self._kept = kept
        self._settings = settings
        self._decoder = IsolatedDecoder(settings, child)
        self._digests = digests

    def reset(self) -> str:
        """Returns the ID of its node once the actor is up."""
        return str(ray.get_runtime_context().get_node_id())

    @ray.method(num_returns=2)
    def decode(self, images: list[ImageRecord], shard: str) -> tuple[DecodedBlock, DecodeResult]:
        """Decodes one block; what cannot be read ends as a dead letter or an other file.

        Raises:
            StorageDeniedError: the storage denies access to all images.
        """
        contents = self._fetcher.fetch_all(images, self._settings.max_bytes)
        digests: list[bytes] = []
        if self._digests:
            contents = _with_digests(contents, digests)
        pixels, outcomes = self._decoder.decode_all(contents, len(images))
        decoded_rows: list[int] = []
        info: list[tuple[ImageRecord, str, DecodedSize]] = []
        failed: list[Unpredicted] = []
        for row, (image, outcome) in enumerate(zip(images, outcomes, strict=True)):
            if isinstance(outcome, ImageError):
                failed.append(unpredicted(image, shard, outcome))
                continue
            decoded_rows.append(row)
            info.append((image, shard, outcome))
        block = DecodedBlock(pixels, info_table(info, self._kept))
        if digests:
            digests = [digests[row] for row in decoded_rows]
        return block, DecodeResult(decoded_rows, failed, digests)


def _with_digests(
    contents: Iterator[bytes | ImageError], digests: list[bytes]
) -> Iterator[bytes | ImageError]:
    """Passes contents on and appends the digest of each; empty for an image without bytes."""
    for content in contents:
        if isinstance(content, ImageError):
            digests.append(b"")
        else:
            digests.append(blake2b(content, digest_size=16).digest())
        yield content
