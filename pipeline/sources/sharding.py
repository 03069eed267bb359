"""Cuts a listing into shards, the unit of accounting, at content-defined borders.

A border follows each key whose hash is divisible by the mean length. So a file that is added to an
archive changes the shard that it falls into and no other. There is also a border between two tars
or row groups. A shard's name is the digest of its keys, sizes and etags.
"""

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.records import ImageRecord

__all__ = ["Shard", "cut_shards"]


@dataclass(frozen=True, slots=True)
class Shard:
    """Consecutive images of the listing.

    Attributes:
        name: digest of keys, sizes and etags, 16 hex digits.
        images: in order; at least one.
    """

    name: str
    images: tuple[ImageRecord, ...]

    @property
    def first_key(self) -> str:
        """Smallest key; in a tar it need not be the first."""
        return min(image.key for image in self.images)

    @property
    def last_key(self) -> str:
        """Largest key."""
        return max(image.key for image in self.images)


def _digest(images: list[ImageRecord]) -> str:
    digest = hashlib.sha256()
    for image in images:
        # With their lengths, fields cannot be confused with their neighbours.
        for field in (image.key, str(image.size_bytes), image.etag or ""):
            encoded = field.encode("utf-8", "surrogateescape")
            digest.update(len(encoded).to_bytes(8, "little"))
            digest.update(encoded)
    return digest.hexdigest()[:16]


def cut_shards(
    images: Iterable[ImageRecord], mean_length: int = 1024, max_length: int = 4096
) -> Iterator[Shard]:
    """Cuts a listing into shards.

    Args:
        images: in the same order on every run, each key once; taken as the shards are.
        mean_length: expected number of images in a shard.
        max_length: largest number of images in a shard.
    """
    pending: list[ImageRecord] = []
    for image in images:
        if pending and image.container != pending[-1].container:
            yield Shard(_digest(pending), tuple(pending))
            pending = []
        pending.append(image)
        is_border = zlib.crc32(image.key.encode("utf-8", "surrogateescape")) % mean_length == 0
        if is_border or len(pending) >= max_length:
            yield Shard(_digest(pending), tuple(pending))
            pending = []
    if pending:
        yield Shard(_digest(pending), tuple(pending))
