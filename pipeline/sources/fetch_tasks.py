"""Groups the images of a block into tasks, each fetched by one thread in one go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from pipeline.records import ImageRecord, ParquetRow, TarMember

__all__ = ["ASSUMED_BYTES", "FetchStrategy", "FetchTask", "fetch_tasks"]

ASSUMED_BYTES = 4 * 2**20
"""Size of an image whose size is unknown."""

_ADJACENT_BYTES, _ADJACENT_GAP_BYTES = 8 * 2**20, 2**18
_FORWARD_IMAGES = 4
# Handing a task to a thread costs as much as reading a small file.
_LOCAL_IMAGES, _LOCAL_BYTES = 16, 2 * 2**20


class FetchStrategy(Enum):
    """How the images of a task are fetched."""

    SINGLE = "one request"
    ADJACENT = "adjacent members of a tar on S3, by one request"
    LOCAL = "local files or tar members, one after the other"
    FORWARD = "from a file that can only be read forward"


@dataclass(frozen=True, slots=True)
class FetchTask:
    """Images that are fetched together."""

    strategy: FetchStrategy
    images: tuple[ImageRecord, ...]

    def only(self, image: ImageRecord) -> "FetchTask":
        """The task of one of the images."""
        return FetchTask(self.strategy, (image,))

    @property
    def num_bytes(self) -> int:
        """Estimate of the memory for the contents."""
        return sum(image.size_bytes or ASSUMED_BYTES for image in self.images)


def fetch_tasks(images: Sequence[ImageRecord]) -> Iterator[FetchTask]:
    """The tasks of a block, in order."""
    task: list[ImageRecord] = []
    for image in images:
        if task and not _joins(task, image):
            yield FetchTask(_strategy(task[0]), tuple(task))
            task = []
        task.append(image)
    if task:
        yield FetchTask(_strategy(task[0]), tuple(task))


def _strategy(image: ImageRecord) -> FetchStrategy:
    part = image.part
    if isinstance(part, ParquetRow) or (isinstance(part, TarMember) and part.compression):
        return FetchStrategy.FORWARD
    is_on_s3 = (image.container or image.uri).startswith("s3://")
    if isinstance(part, TarMember) and is_on_s3:
        return FetchStrategy.ADJACENT
    return FetchStrategy.SINGLE if is_on_s3 else FetchStrategy.LOCAL


def _joins(task: list[ImageRecord], image: ImageRecord) -> bool:
    """Whether an image can be fetched together with those before it."""
    first, last = task[0], task[-1]
    strategy = _strategy(image)
    if strategy is not _strategy(first):
        return False
    if strategy is FetchStrategy.FORWARD:
        return len(task) < _FORWARD_IMAGES and image.container == first.container
    if strategy is FetchStrategy.LOCAL:
        num_bytes = sum(other.size_bytes for other in task) + image.size_bytes
        return len(task) < _LOCAL_IMAGES and num_bytes <= _LOCAL_BYTES
    if strategy is FetchStrategy.SINGLE or image.container != first.container:
        return False
    assert isinstance(first.part, TarMember)
    assert isinstance(last.part, TarMember)
    assert isinstance(image.part, TarMember)
    gap = image.part.offset - (last.part.offset + last.size_bytes)
    length = image.part.offset + image.size_bytes - first.part.offset
    return 0 <= gap <= _ADJACENT_GAP_BYTES and length <= _ADJACENT_BYTES
