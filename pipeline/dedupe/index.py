"""Images with identical bytes: one is computed, the others wait for its answer or get it at once.

Pure: told digests and ends, tells who waits; no pixels, no tables, no Ray. Every image that is
called over here comes back exactly once, with an answer, or to be done again or buried. Nobody
waits unless an image of the same digest is being computed, so the scheduler, which knows only of
those, is never done too early.

Memory is bounded: answers are kept for the digests that were met last, and so many copies wait at
most; what finds no room is computed, which helps the batch of the one that the others wait for.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["DedupeResult", "Duplicates", "Image"]

Image = tuple[int, int]
"""Number of an open shard, and row in it."""

MEMORY_BYTES = 128 * 2**20
_ENTRY_BYTES = 200  # what Python needs to keep one answer besides its bytes, measured
_MAX_WAITING = 4096


@dataclass(slots=True)
class DedupeResult:
    """What becomes of a block's images.

    Attributes:
        over: positions of those that need not be computed, ascending; the others do.
        shared: those that have an answer already, and the answer.
        again: images of earlier blocks that waited in vain, to be done again.
    """

    over: list[int] = field(default_factory=list)
    shared: list[tuple[Image, bytes]] = field(default_factory=list)
    again: list[Image] = field(default_factory=list)


@dataclass(slots=True)
class _Group:
    """Images of one digest without an answer: being computed (never none), and waiting."""

    computed: set[Image] = field(default_factory=set)
    waiting: list[Image] = field(default_factory=list)


class Duplicates:
    """Who is a copy of whom, in one run.

    Args:
        memory_bytes: for answers; the digest that was met least lately is forgotten first.
        max_waiting: copies that wait at a time.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES, max_waiting: int = _MAX_WAITING) -> None:
        self._memory_bytes = memory_bytes
        self._max_waiting = max_waiting
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._known_bytes = 0
        self._groups: dict[bytes, _Group] = {}
        self._digest_of: dict[Image, bytes] = {}  # of those that are computed
        self._num_waiting = 0

    @property
    def num_waiting(self) -> int:
        """Copies that wait for an answer."""
        return self._num_waiting

    @property
    def num_known(self) -> int:
        """Digests whose answer is known."""
        return len(self._known)

    def decoded(self, images: Sequence[Image], digests: Sequence[bytes]) -> DedupeResult:
        """Images whose bytes were read, for the first time or again after a loss."""
        result = DedupeResult()
        for position, (image, digest) in enumerate(zip(images, digests, strict=True)):
            before = self._digest_of.get(image)
            if before == digest:
                continue  # read again after a loss, while others may wait for it
            if before is not None:
                result.again += self.ended(image)  # the file is another now
            answer = self._known.get(digest)
            group = self._groups.get(digest)
            if answer is not None:
                self._known.move_to_end(digest)
                result.shared.append((image, answer))
                result.over.append(position)
            elif group is not None and self._num_waiting < self._max_waiting:
                group.waiting.append(image)
                self._num_waiting += 1
                result.over.append(position)
            else:
                self._groups.setdefault(digest, _Group()).computed.add(image)
                self._digest_of[image] = digest
        return result

    def answered(self, image: Image, answer: bytes) -> list[Image]:
        """An image has its answer; returns the copies that waited for it."""
        digest = self._digest_of.pop(image)
        self._remember(digest, answer)
        group = self._groups.pop(digest, None)
        return [] if group is None else self._released(group)

    def ended(self, image: Image) -> list[Image]:
        """An image has failed; returns the copies that waited, unless another is computed."""
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

    def _remember(self, digest: bytes, answer: bytes) -> None:
        if digest not in self._known:
            self._known_bytes += len(answer) + _ENTRY_BYTES
        self._known[digest] = answer
        self._known.move_to_end(digest)
        while self._known_bytes > self._memory_bytes:
            _, forgotten = self._known.popitem(last=False)
            self._known_bytes -= len(forgotten) + _ENTRY_BYTES
