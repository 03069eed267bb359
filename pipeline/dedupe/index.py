"""Which images of a run have identical bytes: one is computed, its copies wait for its prediction.

Pure: digests and outcomes in, images out; no pixels, no tables, no Ray. Every image that is skipped
here is returned exactly once: with a prediction, as a failure, or to be restarted. An image waits
only while another one with its digest is being computed, so the scheduler, which sees only those,
never finishes too early.

Memory is bounded: predictions are kept for the most recent digests, and the number of waiting
copies is limited. A copy beyond the limit is computed.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["DedupeResult", "DuplicateIndex", "Image"]

Image = tuple[int, int]
"""Number of an open shard, and row in it."""

MEMORY_BYTES = 128 * 2**20
_ENTRY_BYTES = 200  # measured: Python's overhead for one stored prediction
_MAX_WAITING = 4096


@dataclass(slots=True)
class DedupeResult:
    """What happens to the images of a block.

    Attributes:
        skipped: ascending positions of the images that need not be computed.
        predicted: those of them that have a prediction already, and the prediction.
        restarted: images of earlier blocks whose original is not computed after all.
    """

    skipped: list[int] = field(default_factory=list)
    predicted: list[tuple[Image, bytes]] = field(default_factory=list)
    restarted: list[Image] = field(default_factory=list)


@dataclass(slots=True)
class _Group:
    """Images of one digest without a prediction: at least one is computed, the others wait."""

    computed: set[Image] = field(default_factory=set)
    waiting: list[Image] = field(default_factory=list)


class DuplicateIndex:
    """Digests of the images of one run, and the predictions of the most recent ones.

    Args:
        memory_bytes: for predictions; the least recently met digest is dropped first.
        max_waiting: upper bound of copies that wait.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES, max_waiting: int = _MAX_WAITING) -> None:
        self._memory_bytes = memory_bytes
        self._max_waiting = max_waiting
        self._predictions: OrderedDict[bytes, bytes] = OrderedDict()
        self._predictions_bytes = 0
        self._groups: dict[bytes, _Group] = {}
        self._digest_of: dict[Image, bytes] = {}  # of images that are computed
        self._num_waiting = 0

    @property
    def num_waiting(self) -> int:
        """Copies that wait for a prediction."""
        return self._num_waiting

    @property
    def num_predictions(self) -> int:
        """Digests whose prediction is stored."""
        return len(self._predictions)

    def add(self, images: Sequence[Image], digests: Sequence[bytes]) -> DedupeResult:
        """Adds images that were decoded, for the first time or again after a loss."""
        result = DedupeResult()
        for position, (image, digest) in enumerate(zip(images, digests, strict=True)):
            previous = self._digest_of.get(image)
            if previous == digest:
                continue  # decoded again after a loss, while copies may wait for it
            if previous is not None:
                result.restarted += self.fail(image)  # the file has changed
            prediction = self._predictions.get(digest)
            group = self._groups.get(digest)
            if prediction is not None:
                self._predictions.move_to_end(digest)
                result.predicted.append((image, prediction))
                result.skipped.append(position)
            elif group is not None and self._num_waiting < self._max_waiting:
                group.waiting.append(image)
                self._num_waiting += 1
                result.skipped.append(position)
            else:
                self._groups.setdefault(digest, _Group()).computed.add(image)
                self._digest_of[image] = digest
        return result

    def predict(self, image: Image, prediction: bytes) -> list[Image]:
        """Stores the prediction of a computed image; returns the copies that waited for it."""
        digest = self._digest_of.pop(image)
        self._store(digest, prediction)
        group = self._groups.pop(digest, None)
        return [] if group is None else self._released(group)

    def fail(self, image: Image) -> list[Image]:
        """Removes an image that failed; returns its copies, unless another one is computed."""
        digest = self._digest_of.pop(image, None)
        group = None if digest is None else self._groups.get(digest)
        if digest is None or group is None:
            return []
        group.computed.discard(image)
        if group.computed:
            return []
        del self._groups[digest]
        return self._released(group)

    def _released(self, group: _Group) -> list[Image]:
        self._num_waiting -= len(group.waiting)
        return group.waiting

    def _store(self, digest: bytes, prediction: bytes) -> None:
        if digest not in self._predictions:
            self._predictions_bytes += len(prediction) + _ENTRY_BYTES
        self._predictions[digest] = prediction
        self._predictions.move_to_end(digest)
        while self._predictions_bytes > self._memory_bytes:
            _, dropped = self._predictions.popitem(last=False)
            self._predictions_bytes -= len(dropped) + _ENTRY_BYTES
