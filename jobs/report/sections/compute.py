"""Compute spent, by exit, against every tagged image at full depth.

Images are counted and multiplied with the model's costs. Summing the `gmacs` column instead would
add up float32 rounding and show a saving, or a loss, at full depth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jobs.report.sections.exits import ExitCount

__all__ = ["Compute", "compute_spent"]


@dataclass(frozen=True)
class Compute:
    """Compute in GMACs.

    Attributes:
        by_exit: spent on the images of each exit.
        full_depth: of all tagged images, copies included, at full depth.
        per_image: mean over the tagged images; None without images.
        ratio: spent over full depth; None without images.
    """

    by_exit: tuple[float, ...]
    full_depth: float
    per_image: float | None
    ratio: float | None

    @property
    def spent(self) -> float:
        """GMACs spent on all tagged images."""
        return sum(self.by_exit)


def compute_spent(exits: Sequence[ExitCount]) -> Compute:
    """Compute of the images of all exits."""
    num_tagged = sum(count.num_images for count in exits)
    by_exit = tuple(count.gmacs for count in exits)
    full_depth = num_tagged * exits[-1].gmacs_per_image
    return Compute(
        by_exit=by_exit,
        full_depth=full_depth,
        per_image=sum(by_exit) / num_tagged if num_tagged else None,
        ratio=sum(by_exit) / full_depth if num_tagged else None,
    )
