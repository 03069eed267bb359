"""Thresholds as a person reads them; the same in messages, summaries and reports."""

from collections.abc import Sequence

__all__ = ["thresholds_text"]


def thresholds_text(thresholds: Sequence[float]) -> str:
    """One number for each exit but the last; no confidence reaches one above 1, so none leave."""
    if thresholds and min(thresholds) > 1:
        return "full depth"
    return " / ".join("none" if value > 1 else f"{value:.4g}" for value in thresholds)
