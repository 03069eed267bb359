"""The chart of docs/evidence.md, with matplotlib (the extra `plot`), from results alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError

__all__ = ["draw_curve"]

_CASCADE, _STATIC = "#0b6e99", "#c8553d"


def draw_curve(figures: Mapping[str, Any], path: Path, digest: str) -> None:
    """Draws a cascade's curve with its exits, its default thresholds and static models.

    Args:
        figures: of one schedule in the results of `curves`.
        path: SVG file to write; the same figures give the same bytes.
        digest: of the figures, kept in the file.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("page: needs matplotlib: pip install 'dvt-pipeline[plot]'") from error
    with mpl.rc_context({"svg.hashsalt": "dvt", "font.size": 10}):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.subplots()
        curve = figures["points"]
        costs = _costs(curve)
        axes.plot(costs, _percents(curve), color=_CASCADE, linewidth=1.6, label="cascade")
        interval = _percents(curve, "low"), _percents(curve, "high")
        axes.fill_between(costs, *interval, color=_CASCADE, alpha=0.12, linewidth=0)
        for rows, mark, colour, label in (
            (figures["exits"], "o", _CASCADE, "all images at one exit"),
            (figures["statics"], "s", _STATIC, "static models"),
        ):
            values = _percents(rows)
            low, high = _percents(rows, "low"), _percents(rows, "high")
            below = [value - end for value, end in zip(values, low, strict=True)]
            above = [end - value for value, end in zip(values, high, strict=True)]
            bars = (below, above)
            axes.errorbar(
                _costs(rows), values, bars, fmt=mark, color=colour, capsize=3, label=label
            )
        if own := figures["own_thresholds"]:
            axes.plot(
                *_costs([own]), *_percents([own]), "k*", markersize=11, label="default thresholds"
            )
        axes.set_xlabel("mean cost per image, MMACs")
        axes.set_ylabel("accuracy on test images, %")
        axes.grid(alpha=0.25)
        axes.legend(loc="lower right", frameon=False)
        metadata = {"Date": None, "Description": f"figures {digest}"}
        figure.savefig(path, format="svg", metadata=metadata)


def _costs(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    return [1000 * row["gmacs"] for row in rows]


def _percents(rows: Sequence[Mapping[str, Any]], field: str = "accuracy") -> list[float]:
    return [100 * row[field] for row in rows]
