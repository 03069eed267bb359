"""Which images are fetched by one task; pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from pipeline.records import ImageRecord, ParquetRow, TarMember

__all__ = ["FetchStrategy", "FetchTask", "units_of"]

_UNKNOWN_BYTES = 4 * 2**20  # what an image of unknown size is taken for
_SPAN_BYTES, _GAP_BYTES = 8 * 2**20, 2**18
_FORWARD_IMAGES = 4
# Handing a task to a thread costs as much as reading a small file.
_LOCAL_IMAGES, _LOCAL_BYTES = 16, 2 * 2**20


class FetchStrategy(Enum):
    """How the images of a unit are fetched."""

    ALONE = "one request"
    SPAN = "neighbours in a tar on S3, by one request"
    LOCAL = "files or members of tars on the disk, one after the other"
    FORWARD = "from a file that can only be read forward"


@dataclass(frozen=True, slots=True)
class FetchTask:
    """Images that are fetched by one task."""

    way: FetchStrategy
    images: tuple[ImageRecord, ...]

    @property
    def num_bytes(self) -> int:
        """About what it will hold."""
        return sum(image.size_bytes or _UNKNOWN_BYTES for image in self.images)


def units_of(images: Sequence[ImageRecord]) -> Iterator[FetchTask]:
    """Cuts a block into units, in order."""
    unit: list[ImageRecord] = []
    for image in images:
        if unit and not _joins(unit, image):
            yield FetchTask(_way(unit[0]), tuple(unit))
            unit = []
        unit.append(image)
    if unit:
        yield FetchTask(_way(unit[0]), tuple(unit))


def _way(image: ImageRecord) -> FetchStrategy:
    part = image.part
    if isinstance(part, ParquetRow) or (isinstance(part, TarMember) and part.compression):
        return FetchStrategy.FORWARD
    is_on_s3 = (image.container or image.uri).startswith("s3://")
    if isinstance(part, TarMember) and is_on_s3:
        return FetchStrategy.SPAN
    return FetchStrategy.ALONE if is_on_s3 else FetchStrategy.LOCAL


def _joins(unit: list[ImageRecord], image: ImageRecord) -> bool:
    """Whether an image can be fetched along with those before it."""
    first, before = unit[0], unit[-1]
    way = _way(image)
    if way is not _way(first):
        return False
    if way is FetchStrategy.FORWARD:
        return len(unit) < _FORWARD_IMAGES and image.container == first.container
    if way is FetchStrategy.LOCAL:
        num_bytes = sum(other.size_bytes for other in unit) + image.size_bytes
        return len(unit) < _LOCAL_IMAGES and num_bytes <= _LOCAL_BYTES
    if way is FetchStrategy.ALONE or image.container != first.container:
        return False
    assert isinstance(first.part, TarMember)
    assert isinstance(before.part, TarMember)
    assert isinstance(image.part, TarMember)
    gap = image.part.offset - (before.part.offset + before.size_bytes)
    length = image.part.offset + image.size_bytes - first.part.offset
    return 0 <= gap <= _GAP_BYTES and length <= _SPAN_BYTES
