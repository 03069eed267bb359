"""Confidence at each exit: histograms of the images that reached it, exited or passed on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from jobs.report.svg import exit_color, svg, ticks

__all__ = ["HISTOGRAM_BINS", "ConfidenceHistogram", "ConfidenceTotals", "confidence_chart"]

HISTOGRAM_BINS = 20
"""Equal bins over [0, 1]."""

_LEFT, _TOP, _WIDTH, _HEIGHT = 40.0, 20.0, 254.0, 104.0
_BASE = _TOP + _HEIGHT


@dataclass(frozen=True)
class ConfidenceHistogram:
    """The images that reached one exit, by their confidence there.

    Attributes:
        exit_stage: from 1.
        num_exited: images that exited here.
        num_passed: images that went on to the next stage.
        threshold: least confidence to exit here; None at the last exit and at full depth.
        exited: images that exited here, a number for each bin.
        passed: images that went on, a number for each bin.
    """

    exit_stage: int
    num_exited: int
    num_passed: int
    threshold: float | None
    exited: tuple[int, ...]
    passed: tuple[int, ...]

    @property
    def num_reached(self) -> int:
        """Images with a result at this exit, final or not."""
        return self.num_exited + self.num_passed

    @property
    def peak_share(self) -> float:
        """Share of the images in the highest bin; 0 without images."""
        bins = zip(self.exited, self.passed, strict=True)
        return max(map(sum, bins)) / self.num_reached if self.num_reached else 0.0


class ConfidenceTotals:
    """Running totals over `tags`.

    Args:
        thresholds: one for each exit but the last.
    """

    COLUMNS: ClassVar[tuple[str, ...]] = ("exit_stage", "exit_confidences")

    def __init__(self, thresholds: Sequence[float]) -> None:
        self._thresholds = [*(value if value <= 1 else None for value in thresholds), None]
        num_exits = len(self._thresholds)
        self._num_images = np.zeros(num_exits, dtype=np.int64)
        # [exit, 0 passed on / 1 exited, bin]
        self._bins = np.zeros((num_exits, 2, HISTOGRAM_BINS), dtype=np.int64)

    def add(self, rows: pa.Table) -> None:
        """Adds one batch."""
        exit_index = rows["exit_stage"].to_numpy().astype(np.int64) - 1
        num_exits = len(self._thresholds)
        self._num_images += np.bincount(exit_index, minlength=num_exits)
        lists = rows["exit_confidences"].combine_chunks()
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
        values = lists.flatten().to_numpy(zero_copy_only=False)
        stage = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        has_exited = (stage == np.repeat(exit_index, lengths)).astype(np.int64)
        known = (stage < num_exits) & ~np.isnan(values)
        bins = np.clip((values[known] * HISTOGRAM_BINS).astype(np.int64), 0, HISTOGRAM_BINS - 1)
        np.add.at(self._bins, (stage[known], has_exited[known], bins), 1)

    def histograms(self) -> tuple[ConfidenceHistogram, ...]:
        """One record an exit."""
        num_reached = self._num_images[::-1].cumsum()[::-1]
        return tuple(
            ConfidenceHistogram(
                exit_stage=index + 1,
                num_exited=int(num_exited),
                num_passed=int(num_reached[index] - num_exited),
                threshold=self._thresholds[index],
                exited=tuple(self._bins[index, 1].tolist()),
                passed=tuple(self._bins[index, 0].tolist()),
            )
            for index, num_exited in enumerate(self._num_images)
        )


def confidence_chart(histogram: ConfidenceHistogram, peak_share: float) -> Markup:
    """A histogram: images that exited, and above them those that went on.

    Args:
        histogram: of one exit.
        peak_share: greatest of all exits, which share one scale.
    """
    ceiling = max(peak_share, 0.01)
    body = [*_axes(ceiling)]
    step = _WIDTH / HISTOGRAM_BINS
    fills = (exit_color(histogram.exit_stage), "var(--muted)")
    for index, counts in enumerate(zip(histogram.exited, histogram.passed, strict=True)):
        y = _BASE
        for count, fill in zip(counts, fills, strict=True):
            if count:
                tall = _HEIGHT * count / histogram.num_reached / ceiling
                y -= tall
                body.append(
                    f'<rect x="{_LEFT + index * step + 0.75:.2f}" y="{y:.2f}" '
                    f'width="{step - 1.5:.2f}" height="{tall:.2f}" fill="{fill}"/>'
                )
    if histogram.threshold is not None and 0 <= histogram.threshold <= 1:
        body.append(_threshold_line(histogram.threshold))
    title = f"Confidence at exit {histogram.exit_stage}"
    return svg(_LEFT + _WIDTH + 8, _BASE + 22, title, body, "histogram")


def _axes(ceiling: float) -> list[str]:
    body = []
    for tick in ticks(ceiling):
        y = _BASE - _HEIGHT * tick / ceiling
        body.append(
            f'<line class="grid" x1="{_LEFT:g}" x2="{_LEFT + _WIDTH:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 5:g}" y="{y + 3.5:.1f}" text-anchor="end">{tick * 100:g} %</text>'
        )
    for tick in (0.0, 0.5, 1.0):
        body.append(
            f'<text x="{_LEFT + tick * _WIDTH:g}" y="{_BASE + 15:g}" text-anchor="middle">{tick:g}'
            "</text>"
        )
    return body


def _threshold_line(threshold: float) -> str:
    x = _LEFT + threshold * _WIDTH
    anchor, text_x = ("end", x - 5) if threshold > 0.5 else ("start", x + 5)
    return (
        f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 14:g}" y2="{_BASE:g}"/>'
        f'<text class="strong" x="{text_x:.1f}" y="{_TOP - 7:g}" text-anchor="{anchor}">'
        f"threshold {threshold:.3f}</text>"
    )
