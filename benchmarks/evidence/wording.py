"""Formats of figures in tables: percent, points, MMACs, with their intervals."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["exits_text", "mmacs", "percents", "points", "share", "table", "times"]


def share(figures: Mapping[str, Any]) -> str:
    """An accuracy in percent with its interval: `91.30 (90.49–92.07)`."""
    value, low, high = (100 * figures[name] for name in ("accuracy", "low", "high"))
    return f"{value:.2f} ({low:.2f}–{high:.2f})"


def percents(accuracies: Iterable[float]) -> str:
    """Accuracies of the exits in percent: `71.36 / 79.02 / 82.06`."""
    return " / ".join(f"{100 * accuracy:.2f}" for accuracy in accuracies)


def points(estimate: Mapping[str, float]) -> str:
    """A difference of accuracies in points, signed: `+0.30 (−0.12 to +0.71)`."""
    value, low, high = (_signed(100 * estimate[name]) for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _signed(value: float) -> str:
    text = f"{value:+.2f}"
    return f"{0.0:.2f}" if float(text) == 0 else text.replace("-", "−")


def times(estimate: Mapping[str, float] | None) -> str:
    """A ratio with its interval: `1.72× (1.61–1.84)`; without one, `not reached`."""
    if estimate is None:
        return "not reached"
    return f"{estimate['value']:.2f}× ({estimate['low']:.2f}–{estimate['high']:.2f})"


def mmacs(gmacs: float) -> str:
    """Millions of multiply-adds."""
    return f"{1000 * gmacs:.1f}"


def exits_text(counts: Sequence[float]) -> str:
    """Shares of the exits in percent: `62 / 25 / 13`."""
    total = sum(counts)
    return " / ".join(f"{100 * count / total:.0f}" for count in counts)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
