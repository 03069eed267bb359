"""The charts of the page as inline SVG, by pure functions of numbers.

Colours are CSS variables of the page (`--exit-1` ...), so that one picture serves light, dark and
print. Charts that must shrink to a phone's width hold no text; the page writes it around them.
"""

from collections.abc import Sequence
from math import ceil, floor, log10

from markupsafe import Markup, escape

from jobs.report.data import ExitFlow, ThroughputPoint

__all__ = ["confidence_histogram", "exit_color", "flow_chart", "stacked_bar", "throughput_chart"]

_NUM_COLORS = 4

_FLOW_WIDTH = 960.0
_FLOW_BAND = 104.0
_FLOW_BEND = 22.0
_FLOW_STEM = 14.0
_FLOW_LEAST_BAND = 1.5


def exit_color(exit_stage: int) -> str:
    """CSS colour of an exit; a cascade deeper than the scale shares its last colour."""
    return f"var(--exit-{min(exit_stage, _NUM_COLORS)})"


def _svg(width: float, height: float, title: str, body: Sequence[str], css_class: str) -> Markup:
    return Markup(
        f'<svg class="{css_class}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(title)}">{"".join(body)}</svg>'
    )


def _ticks(greatest: float) -> list[float]:
    """Round numbers from 0 to at most `greatest`, at most six, in steps of 1, 2 or 5."""
    if greatest <= 0:
        return [0.0]
    rough = greatest / 5
    magnitude = 10.0 ** floor(log10(rough))
    step = magnitude * next(m for m in (1, 2, 5, 10) if m * magnitude >= rough * 0.999)
    return [round(index * step, 12) for index in range(floor(greatest / step + 1e-9) + 1)]


def flow_chart(flows: Sequence[ExitFlow]) -> Markup:
    """Bands as thick as the share of images that take each exit, peeling off one by one.

    The stem of exit k ends at the middle of the k-th of equal columns, where the page puts text.
    """
    total = sum(flow.num_left for flow in flows)
    column = _FLOW_WIDTH / len(flows)
    height = _FLOW_BAND + _FLOW_BEND + _FLOW_STEM
    body = []
    bottom = _FLOW_BAND
    for index, flow in enumerate(flows):
        if not flow.num_left:
            continue
        band = _FLOW_BAND * flow.num_left / total
        shown = max(band, _FLOW_LEAST_BAND)
        left = (index + 0.5) * column - shown / 2
        bend = left - _FLOW_BEND
        outer = _FLOW_BEND + shown
        body.append(
            f'<path fill="{exit_color(flow.exit_stage)}" d="M0 {bottom - shown:.2f}H{bend:.2f}'
            f"a{outer:.2f} {outer:.2f} 0 0 1 {outer:.2f} {outer:.2f}V{height:g}h{-shown:.2f}"
            f"V{bottom + _FLOW_BEND:.2f}a{_FLOW_BEND:g} {_FLOW_BEND:g} 0 0 0 "
            f'{-_FLOW_BEND:g} {-_FLOW_BEND:g}H0z"/>'
        )
        bottom -= band
    return _svg(_FLOW_WIDTH, height, "How many images take each exit", body, "flow")


def stacked_bar(parts: Sequence[float], whole: float, title: str) -> Markup:
    """A horizontal bar, one part an exit; `whole` is what fills the full width."""
    body = []
    start = 0.0
    for exit_stage, part in enumerate(parts, start=1):
        percent = 100 * part / whole if whole else 0.0
        if percent:
            body.append(
                f'<rect x="{start:.3f}%" width="{percent:.3f}%" height="100%" '
                f'fill="{exit_color(exit_stage)}"/>'
            )
        start += percent
    # No viewBox: percentages stretch with the column, corners and all.
    return Markup(f'<svg class="bar" role="img" aria-label="{escape(title)}">{"".join(body)}</svg>')


def confidence_histogram(flow: ExitFlow, peak_share: float) -> Markup:
    """Confidences of the images that reached an exit: those that left over those that went on.

    Args:
        flow: The exit.
        peak_share: Share of the images in the tallest bin of all exits; they share one scale.
    """
    left, top, width, height = 40.0, 20.0, 254.0, 104.0
    base = top + height
    body = []
    ceiling = max(peak_share, 0.01)
    for tick in _ticks(ceiling):
        y = base - height * tick / ceiling
        body.append(
            f'<line class="grid" x1="{left:g}" x2="{left + width:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{left - 5:g}" y="{y + 3.5:.1f}" text-anchor="end">{tick * 100:g} %</text>'
        )
    step = width / len(flow.histogram_left)
    for index, counts in enumerate(zip(flow.histogram_left, flow.histogram_went_on, strict=True)):
        y = base
        for count, fill in zip(counts, (exit_color(flow.exit_stage), "var(--muted)"), strict=True):
            if count:
                tall = height * count / flow.num_reached / ceiling
                y -= tall
                body.append(
                    f'<rect x="{left + index * step + 0.75:.2f}" y="{y:.2f}" '
                    f'width="{step - 1.5:.2f}" height="{tall:.2f}" fill="{fill}"/>'
                )
    for tick in (0.0, 0.5, 1.0):
        body.append(
            f'<text x="{left + tick * width:g}" y="{base + 15:g}" text-anchor="middle">{tick:g}'
            "</text>"
        )
    if flow.threshold is not None and 0 <= flow.threshold <= 1:
        x = left + flow.threshold * width
        anchor = "end" if flow.threshold > 0.5 else "start"
        body.append(
            f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 14:g}" y2="{base:g}"/>'
            f'<text class="strong" x="{x + (-5 if anchor == "end" else 5):.1f}" y="{top - 7:g}" '
            f'text-anchor="{anchor}">threshold {flow.threshold:.3f}</text>'
        )
    title = f"Confidence at exit {flow.exit_stage}"
    return _svg(left + width + 8, base + 22, title, body, "histogram")


def throughput_chart(points: Sequence[ThroughputPoint]) -> Markup:
    """Cumulative images over the time of one run, with its mean rate as a dashed line."""
    left, top, width, height = 64.0, 12.0, 880.0, 190.0
    base = top + height
    last = points[-1]
    unit_s, unit = 1, "s"
    for longer_s, longer in ((60, "min"), (3600, "h")):
        if last.elapsed_s > 2 * longer_s:
            unit_s, unit = longer_s, longer
    span_s = last.elapsed_s or 1.0

    def place(elapsed_s: float, num_images: float) -> tuple[float, float]:
        return left + width * elapsed_s / span_s, base - height * num_images / last.num_images

    body = []
    for tick in _ticks(last.num_images):
        _, y = place(0, tick)
        body.append(
            f'<line class="grid" x1="{left:g}" x2="{left + width:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{left - 8:g}" y="{y + 4:.1f}" text-anchor="end">{ceil(tick):,}</text>'
        )
    for tick in _ticks(span_s / unit_s):
        x, _ = place(tick * unit_s, 0)
        body.append(
            f'<text x="{x:.1f}" y="{base + 18:g}" text-anchor="middle">{tick:g} {unit}</text>'
        )
    # A shard is counted when it is finished, so the curve is a staircase.
    path = f"M{left:g} {base:g}"
    for point in points:
        x, y = place(point.elapsed_s, point.num_images)
        path += f"H{x:.1f}V{y:.1f}"
    body.append(f'<path class="area" d="{path}V{base:g}z"/><path class="curve" d="{path}"/>')
    body.append(
        f'<line class="mean" x1="{left:g}" y1="{base:g}" x2="{left + width:g}" y2="{top:g}"/>'
    )
    return _svg(left + width + 16, base + 28, "Images finished over time", body, "throughput")
