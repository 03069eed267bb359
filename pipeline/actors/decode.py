"""The decode actor: fetches and decodes one parcel a call."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from pipeline.decoding import DecodeSettings, IsolatedDecoder
from pipeline.errors import ImageError
from pipeline.records import DeadLetter, ImageRecord
from pipeline.sources.base import Fetcher

__all__ = ["DecodeActor", "DecodeReceipt", "DecodedParcel"]


@dataclass(frozen=True, slots=True)
class DecodedParcel:
    """The heavy part of the answer; stays in the object store.

    Attributes:
        pixels: [n, S, S, 3] uint8.
        info: n rows of what else a tag needs: key, uri, width, height, etag, shard.
    """

    pixels: NDArray[np.uint8]
    info: pa.Table


@dataclass(frozen=True, slots=True)
class DecodeReceipt:
    """The light part: positions of the images that have pixels, and what befell the others."""

    decoded_rows: list[int]
    dead_letters: list[DeadLetter]


class DecodeActor:
    """Turns listed images into pixels.

    Args:
        fetcher: gets bytes.
        settings: what the model wants.
        child: module of the process that decodes.
    """

    def __init__(
        self, fetcher: Fetcher, settings: DecodeSettings, child: str = "pipeline.decoding.child"
    ) -> None:
        self._fetcher = fetcher
        self._settings = settings
        self._decoder = IsolatedDecoder(settings, child)

    def reset(self) -> None:
        """Answers once the actor is up."""

    @ray.method(num_returns=2)
    def decode(self, images: list[ImageRecord], shard: str) -> tuple[DecodedParcel, DecodeReceipt]:
        """One parcel; an image that cannot be read is a dead letter, never an exception."""
        pixels, outcomes = self._decoder.decode_all(self._contents(images), len(images))
        decoded_rows: list[int] = []
        info: list[dict[str, object]] = []
        dead_letters: list[DeadLetter] = []
        for row, (image, outcome) in enumerate(zip(images, outcomes, strict=True)):
            if isinstance(outcome, ImageError):
                dead_letters.append(
                    DeadLetter(image.key, image.uri, outcome.reason, outcome.detail, 1, shard)
                )
                continue
            decoded_rows.append(row)
            info.append(
                {
                    "key": image.key,
                    "uri": image.uri,
                    "width": outcome[0],
                    "height": outcome[1],
                    "etag": image.etag,
                    "shard": shard,
                }
            )
        parcel = DecodedParcel(pixels, pa.Table.from_pylist(info, schema=_INFO_SCHEMA))
        return parcel, DecodeReceipt(decoded_rows, dead_letters)

    def _contents(self, images: list[ImageRecord]) -> Iterator[bytes | ImageError]:
        """What the files hold, in order; taken while earlier ones are decoded."""
        for image in images:
            try:
                yield self._fetcher.fetch(image.uri, self._settings.max_bytes)
            except ImageError as error:
                yield error


_INFO_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("uri", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("etag", pa.string()),
        ("shard", pa.string()),
    ]
)
