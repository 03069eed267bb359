"""The decode actor: fetches and decodes one parcel a call."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from pipeline.decoding import DecodeSettings, IsolatedDecoder
from pipeline.errors import ImageError
from pipeline.records import DeadLetter, ImageRecord
from pipeline.sources.base import NOTHING_KEPT, Fetcher

__all__ = ["DecodeActor", "DecodeReceipt", "DecodedParcel"]


@dataclass(frozen=True, slots=True)
class DecodedParcel:
    """The heavy part of the answer; stays in the object store.

    Attributes:
        pixels: [n, S, S, 3] uint8.
        info: n rows of what else a tag needs: key, uri, width, height, etag, shard, and the columns
            that are passed through.
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
        kept: columns that are passed through to the tags.
        child: module of the process that decodes.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        settings: DecodeSettings,
        kept: pa.Schema = NOTHING_KEPT,
        child: str = "pipeline.decoding.child",
    ) -> None:
        self._fetcher = fetcher
        self._kept = kept
        self._settings = settings
        self._decoder = IsolatedDecoder(settings, child)
        self._info_schema = pa.schema([*_INFO_SCHEMA, *kept])

    def reset(self) -> str:
        """Answers, with the node's name, once the actor is up."""
        return str(ray.get_runtime_context().get_node_id())

    @ray.method(num_returns=2)
    def decode(self, images: list[ImageRecord], shard: str) -> tuple[DecodedParcel, DecodeReceipt]:
        """One parcel; an image that cannot be read is a dead letter, never an exception.

        Raises:
            StorageDenied: no image can be had.
        """
        contents = self._fetcher.fetch_all(images, self._settings.max_bytes)
        pixels, outcomes = self._decoder.decode_all(contents, len(images))
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
                    **dict(zip(self._kept.names, image.kept, strict=True)),
                }
            )
        parcel = DecodedParcel(pixels, pa.Table.from_pylist(info, schema=self._info_schema))
        return parcel, DecodeReceipt(decoded_rows, dead_letters)


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
