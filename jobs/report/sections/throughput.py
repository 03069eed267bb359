"""Throughput of the last run: images in finished shards over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup
from numpy.typing import NDArray

from jobs.report.svg import svg, ticks

__all__ = ["ShardTotals", "ThroughputPoint", "throughput_chart"]

_MIN_POINTS = 3
_MAX_POINTS = 300
_LEFT, _TOP, _WIDTH, _HEIGHT = 64.0, 12.0, 880.0, 190.0
_BASE = _TOP + _HEIGHT


@dataclass(frozen=True)
class ThroughputPoint:
    """Images finished up to a moment, in seconds since the start of the run."""

    elapsed_s: float
    num_images: int


class ShardTotals:
    """Running totals over `shards`, by run; 16 bytes a shard."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("run", "elapsed_s", "num_images", "num_other_files")

    def __init__(self) -> None:
        self._elapsed_s: dict[str, list[NDArray[np.float64]]] = {}
        self._num_images: dict[str, list[NDArray[np.int64]]] = {}

    @property
    def num_images(self) -> int:
        """Images in finished shards, over all runs; without other files."""
        return sum(int(part.sum()) for parts in self._num_images.values() for part in parts)

    @property
    def seconds(self) -> float | None:
        """Time until the last finished shard, summed over the runs; None if there is none."""
        if not self._elapsed_s:
            return None
        return sum(float(max(p.max() for p in parts)) for parts in self._elapsed_s.values())

    def add(self, rows: pa.Table) -> None:
        """Adds one batch."""
        for run in pc.unique(rows["run"]).to_pylist():
            matching = rows.filter(pc.equal(rows["run"], run))
            self._elapsed_s.setdefault(run, []).append(matching["elapsed_s"].to_numpy())
            num_images = pc.subtract(matching["num_images"], matching["num_other_files"])
            self._num_images.setdefault(run, []).append(num_images.to_numpy())

    def throughput(self, run: str) -> tuple[ThroughputPoint, ...]:
        """Cumulative images of a run, or of the last run with finished shards if it has none.

        Empty if there are too few shards for a curve.
        """
        if not self._elapsed_s:
            return ()
        run = run if run in self._elapsed_s else max(self._elapsed_s)
        elapsed_s = np.concatenate(self._elapsed_s[run])
        if len(elapsed_s) < _MIN_POINTS:
            return ()
        in_time = np.argsort(elapsed_s, kind="stable")
        num_images = np.concatenate(self._num_images[run])[in_time].cumsum()
        if not num_images[-1]:
            return ()
        num_points = min(len(in_time), _MAX_POINTS)
        shown = np.linspace(0, len(in_time) - 1, num_points).round().astype(np.int64)
        return tuple(
            ThroughputPoint(float(elapsed_s[in_time[index]]), int(num_images[index]))
            for index in shown
        )


def throughput_chart(points: Sequence[ThroughputPoint]) -> Markup:
    """Cumulative images over time, with the mean rate as a dashed line."""
    last = points[-1]
    unit_s, unit = 1, "s"
    for longer_s, longer in ((60, "min"), (3600, "h")):
        if last.elapsed_s > 2 * longer_s:
            unit_s, unit = longer_s, longer
    span_s = last.elapsed_s or 1.0
    right = _LEFT + _WIDTH

    def place(elapsed_s: float, num_images: float) -> tuple[float, float]:
        return _LEFT + _WIDTH * elapsed_s / span_s, _BASE - _HEIGHT * num_images / last.num_images

    body = []
    for tick in ticks(last.num_images):
        _, y = place(0, tick)
        body.append(
            f'<line class="grid" x1="{_LEFT:g}" x2="{right:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 8:g}" y="{y + 4:.1f}" text-anchor="end">{ceil(tick):,}</text>'
        )
    for tick in ticks(span_s / unit_s):
        x, _ = place(tick * unit_s, 0)
        body.append(
            f'<text x="{x:.1f}" y="{_BASE + 18:g}" text-anchor="middle">{tick:g} {unit}</text>'
        )
    # A shard is counted when it is finished, so the curve is a staircase.
    path = f"M{_LEFT:g} {_BASE:g}"
    for point in points:
        x, y = place(point.elapsed_s, point.num_images)
        path += f"H{x:.1f}V{y:.1f}"
    body += [
        f'<path class="area" d="{path}V{_BASE:g}z"/><path class="curve" d="{path}"/>',
        f'<line class="mean" x1="{_LEFT:g}" y1="{_BASE:g}" x2="{right:g}" y2="{_TOP:g}"/>',
    ]
    return svg(right + 16, _BASE + 28, "Images finished over time", body, "throughput")
