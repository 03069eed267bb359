"""The decode actor: fetches and decodes one block a call."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from pipeline.decoding import DecodeSettings, IsolatedDecoder
from pipeline.errors import ImageError
from pipeline.records import DeadLetter, ImageRecord, info_table
from pipeline.sources.base import NOTHING_KEPT, Fetcher

__all__ = ["DecodeActor", "DecodeResult", "DecodedBlock"]


@dataclass(frozen=True, slots=True)
class DecodedBlock:
    """The heavy part of the answer; stays in the object store.

    Attributes:
        pixels: [n, S, S, 3] uint8.
        info: n rows of what else a tag needs: key, uri, width, height, etag, shard, and the columns
            that are passed through.
    """

    pixels: NDArray[np.uint8]
    info: pa.Table


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """The light part of the answer.

    Attributes:
        decoded_rows: positions of the images that have pixels.
        dead_letters: what befell the others.
        digests: of the bytes of those that have pixels; empty if copies do not matter.
    """

    decoded_rows: list[int]
    dead_letters: list[DeadLetter]
    digests: list[bytes] = field(default_factory=list)


class DecodeActor:
    """Turns listed images into pixels.

    Args:
        fetcher: gets bytes.
        settings: what the model wants.
        kept: columns that are passed through to the tags.
        digests: tell which images have the same bytes.
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
        self._fetcher = fetcher
        self._kept = kept
        self._settings = settings
        self._decoder = IsolatedDecoder(settings, child)
        self._digests = digests

    def reset(self) -> str:
        """Predictions, with the node's name, once the actor is up."""
        return str(ray.get_runtime_context().get_node_id())

    @ray.method(num_returns=2)
    def decode(self, images: list[ImageRecord], shard: str) -> tuple[DecodedBlock, DecodeResult]:
        """One block; an image that cannot be read is a dead letter, never an exception.

        Raises:
            StorageDeniedError: no image can be had.
        """
        contents = self._fetcher.fetch_all(images, self._settings.max_bytes)
        digests: list[bytes] = []
        if self._digests:
            contents = _noting_digests(contents, digests)
        pixels, outcomes = self._decoder.decode_all(contents, len(images))
        decoded_rows: list[int] = []
        info: list[tuple[ImageRecord, str, int, int]] = []
        dead_letters: list[DeadLetter] = []
        for row, (image, outcome) in enumerate(zip(images, outcomes, strict=True)):
            if isinstance(outcome, ImageError):
                dead_letters.append(
                    DeadLetter(image.key, image.uri, outcome.reason, outcome.detail, 1, shard)
                )
                continue
            decoded_rows.append(row)
            info.append((image, shard, *outcome))
        block = DecodedBlock(pixels, info_table(info, self._kept))
        if digests:
            digests = [digests[row] for row in decoded_rows]
        return block, DecodeResult(decoded_rows, dead_letters, digests)


def _noting_digests(
    contents: Iterator[bytes | ImageError], digests: list[bytes]
) -> Iterator[bytes | ImageError]:
    """Hashes what passes by; the place of an image that has no bytes stays empty."""
    for content in contents:
        if isinstance(content, ImageError):
            digests.append(b"")
        else:
            digests.append(blake2b(content, digest_size=16).digest())
        yield content
