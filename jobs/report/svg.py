"""Inline SVG for the charts of the sections.

Colours are CSS variables of the page (`--exit-1` ...), so one chart serves light, dark and print.
Charts that shrink to the width of a phone hold no text; the page puts it around them.
"""

from collections.abc import Sequence
from math import floor, log10

from markupsafe import Markup, escape

__all__ = ["exit_color", "stacked_bar", "svg", "ticks"]

_NUM_COLORS = 4


def exit_color(exit_stage: int) -> str:
    """CSS colour of an exit; exits beyond the scale share its last colour."""
    return f"var(--exit-{min(exit_stage, _NUM_COLORS)})"


def svg(width: float, height: float, title: str, body: Sequence[str], css_class: str) -> Markup:
    """An image of SVG elements that scales with its column."""
    return Markup(
        f'<svg class="{css_class}" viewBox="0 0 {width:g} {height:g}" role="img" '
        f'aria-label="{escape(title)}">{"".join(body)}</svg>'
    )


def ticks(greatest: float) -> list[float]:
    """At most six round numbers from 0 to `greatest`, in steps of 1, 2 or 5."""
    if greatest <= 0:
        return [0.0]
    rough = greatest / 5
    magnitude = 10.0 ** floor(log10(rough))
    step = magnitude * next(m for m in (1, 2, 5, 10) if m * magnitude >= rough * 0.999)
    return [round(index * step, 12) for index in range(floor(greatest / step + 1e-9) + 1)]


def stacked_bar(parts: Sequence[float], whole: float, title: str) -> Markup:
    """A horizontal bar with one part an exit; `whole` fills the full width."""
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
