"""How far a run is, as numbers; showing them is somebody else's business."""

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Progress", "ProgressListener"]


@dataclass(frozen=True, slots=True)
class Progress:
    """A snapshot.

    Attributes:
        num_images: images in the archive; None while they are still being counted.
        num_skipped: done by earlier runs.
        num_tagged: answered by this run, committed or about to be.
        num_dead_letters: failed for good in this run.
        exits: of those answered, at each exit.
        elapsed_s: since the run started.
    """

    num_images: int | None
    num_skipped: int
    num_tagged: int
    num_dead_letters: int
    exits: tuple[int, ...]
    elapsed_s: float

    @property
    def images_per_second(self) -> float:
        """Images finished per second since the start."""
        done = self.num_tagged + self.num_dead_letters
        return done / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time to go at the rate so far; None while it cannot be told."""
        if self.num_images is None or self.images_per_second == 0:
            return None
        done = self.num_skipped + self.num_tagged + self.num_dead_letters
        return max(0.0, (self.num_images - done) / self.images_per_second)


class ProgressListener(Protocol):
    """Called about five times a second, from the coordinator's thread; must not block."""

    def __call__(self, progress: Progress) -> None:
        """Takes note of how far the run is."""
        ...
