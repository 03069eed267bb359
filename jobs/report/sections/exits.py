"""Images by exit: how many exited where, how confident, and the compute it took."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup
from numpy.typing import NDArray

from jobs.report.svg import exit_color, svg
from pipeline.errors import UsageError

__all__ = ["ExitCount", "ExitTotals", "flow_chart"]

_WIDTH = 960.0
_BAND = 104.0
_BEND = 22.0
_STEM = 14.0
_LEAST_BAND = 1.5


@dataclass(frozen=True)
class ExitCount:
    """The images that exited at one exit.

    Attributes:
        exit_stage: from 1.
        num_images: all of them.
        num_computed: those that do not share the result of another image.
        mean_confidence: None without images.
        gmacs_per_image: cost of one computed image, from the model's configuration.
    """

    exit_stage: int
    num_images: int
    num_computed: int
    mean_confidence: float | None
    gmacs_per_image: float

    @property
    def gmacs(self) -> float:
        """GMACs spent on these images."""
        return self.num_computed * self.gmacs_per_image


class ExitTotals:
    """Running totals over `tags`. E exits.

    Args:
        gmacs_per_exit: cumulative cost of each exit.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("exit_stage", "confidence", "gmacs")

    def __init__(self, gmacs_per_exit: Sequence[float]) -> None:
        self._gmacs = gmacs_per_exit
        self._num_images = np.zeros(len(gmacs_per_exit), dtype=np.int64)
        self._confidence = np.zeros(len(gmacs_per_exit))
        self.num_computed = np.zeros(len(gmacs_per_exit), dtype=np.int64)  # [E]

    def add(self, rows: pa.Table) -> None:
        """Adds one batch.

        Raises:
            UsageError: the model of `run.json` has no such exit.
        """
        exit_stage = rows["exit_stage"].to_numpy().astype(np.int64)
        num_exits = len(self._gmacs)
        if exit_stage.min() < 1 or exit_stage.max() > num_exits:
            raise UsageError(
                f"tags: exit_stage must be 1 to {num_exits}, the exits of the model in run.json "
                f"(got {exit_stage.min()} to {exit_stage.max()})"
            )
        confidence = rows["confidence"].to_numpy()
        is_computed = pc.greater(rows["gmacs"], 0).to_numpy()
        self._num_images += _by_exit(exit_stage, num_exits)
        self._confidence += np.bincount(exit_stage - 1, confidence, num_exits)
        self.num_computed += _by_exit(exit_stage[is_computed], num_exits)

    def counts(self) -> tuple[ExitCount, ...]:
        """One record an exit."""
        return tuple(
            ExitCount(
                exit_stage=index + 1,
                num_images=int(num_images),
                num_computed=int(self.num_computed[index]),
                mean_confidence=float(self._confidence[index] / num_images) if num_images else None,
                gmacs_per_image=self._gmacs[index],
            )
            for index, num_images in enumerate(self._num_images)
        )


def _by_exit(exit_stages: NDArray[np.int64], num_exits: int) -> NDArray[np.int64]:
    return np.bincount(exit_stages - 1, minlength=num_exits)


def flow_chart(exits: Sequence[ExitCount]) -> Markup:
    """Bands as thick as the share of images that take each exit, branching off one by one.

    The stem of exit k ends in the middle of the k-th of equal columns, where the page puts text.
    """
    total = sum(count.num_images for count in exits)
    column = _WIDTH / len(exits)
    height = _BAND + _BEND + _STEM
    body = []
    bottom = _BAND
    for index, count in enumerate(exits):
        if not count.num_images:
            continue
        band = _BAND * count.num_images / total
        shown = max(band, _LEAST_BAND)
        left = (index + 0.5) * column - shown / 2
        bend = left - _BEND
        outer = _BEND + shown
        body.append(
            f'<path fill="{exit_color(count.exit_stage)}" d="M0 {bottom - shown:z.2f}H{bend:.2f}'
            f"a{outer:.2f} {outer:.2f} 0 0 1 {outer:.2f} {outer:.2f}V{height:g}h{-shown:.2f}"
            f"V{bottom + _BEND:.2f}a{_BEND:g} {_BEND:g} 0 0 0 {-_BEND:g} {-_BEND:g}H0z"
            '"/>'
        )
        bottom -= band
    return svg(_WIDTH, height, "How many images take each exit", body, "flow")
