"""Shards: runs of neighbouring keys with content-defined borders, the unit of accounting.

A border follows a key whose hash says so, so that a file added to an archive changes the shard it
falls into and no other; and it lies between two tars or row groups. A shard's name is the digest of
what it holds: keys, sizes, etags.
"""

import hashlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.records import ImageRecord

__all__ = ["Shard", "cut_shards"]


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of neighbouring images.

    Attributes:
        name: digest of keys, sizes and etags, 16 hex digits.
        images: in the order of the listing; never empty.
    """

    name: str
    images: tuple[ImageRecord, ...]

    @property
    def first_key(self) -> str:
        """Smallest key; in a tar, that need not be the first."""
        return min(image.key for image in self.images)

    @property
    def last_key(self) -> str:
        """Largest key."""
        return max(image.key for image in self.images)


def _digest(images: list[ImageRecord]) -> str:
    digest = hashlib.sha256()
    for image in images:
        # Lengths first: no key can imitate the border between two fields.
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
        images: in the same order on every run, each key once; consumed as the shards are taken.
        mean_length: expected number of images between two borders.
        max_length: hard limit of images in a shard.
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
