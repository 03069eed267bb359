"""The progress of a run as numbers, and the interface of whatever shows it."""

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Progress", "ProgressListener"]

# Until then, most of the time went into the start.
_LEAST_IMAGES, _LEAST_SECONDS = 100, 30.0


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress at one moment.

    Attributes:
        num_images: files in the archive; None while they are being counted.
        num_skipped: done by earlier runs.
        num_tagged: predicted by this run, committed or not.
        num_dead_letters: failed permanently in this run.
        exits: predicted images by exit.
        elapsed_s: since the start of the run.
        num_other_files: found to be no pictures in this run.
    """

    num_images: int | None
    num_skipped: int
    num_tagged: int
    num_dead_letters: int
    exits: tuple[int, ...]
    elapsed_s: float
    num_other_files: int = 0

    @property
    def num_done(self) -> int:
        """Files with an outcome, those of earlier runs included."""
        num_images = self.num_tagged + self.num_dead_letters
        return self.num_skipped + num_images + self.num_other_files

    @property
    def images_per_second(self) -> float:
        """Mean throughput of this run, without other files."""
        num_images = self.num_tagged + self.num_dead_letters
        return num_images / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Remaining time at the mean rate of files; None while unknown, and in the beginning."""
        num_done = self.num_done - self.num_skipped
        is_early = num_done < _LEAST_IMAGES or self.elapsed_s < _LEAST_SECONDS
        if self.num_images is None or is_early:
            return None
        return max(0.0, (self.num_images - self.num_done) * self.elapsed_s / num_done)


class ProgressListener(Protocol):
    """Receives progress several times a second in the coordinator's thread; must not block."""

    def __call__(self, progress: Progress) -> None:
        """Handles one update."""
        ...
