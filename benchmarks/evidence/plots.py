"""The drawings of docs/evidence.md, with matplotlib (the extra `plot`), from results alone.

The same figures and the same matplotlib give the same bytes. Each drawing is made by a function of
its figures; its file carries their digest.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.evidence.results import Results
from pipeline.errors import UsageError

__all__ = ["PLOTS", "Plot"]

_CASCADE, _STATIC, _OTHER = "#0b6e99", "#c8553d", "#7a7a7a"
_MARKS = ("o", "s", "^", "D", "v")


class Plot(NamedTuple):
    """A drawing.

    Attributes:
        file: its name.
        source: command whose results it shows.
        figures: what of them; None if there is nothing to show.
        draw: writes the file: figures, path, digest of the figures.
    """

    file: str
    source: str
    figures: Callable[[Results], Any]
    draw: Callable[[Any, Path, str], None]


@contextmanager
def _drawing(path: Path, digest: str, width: float, height: float) -> Iterator[Any]:
    """A figure to draw into, which is written at the end."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("page: needs matplotlib: pip install 'dvt-pipeline[plot]'") from error
    style: Any = {
        "svg.hashsalt": "dvt",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        metadata = {"Date": None, "Description": f"figures {digest}"}
        figure.savefig(path, format="svg", metadata=metadata)


def _curve(figures: Any, path: Path, digest: str) -> None:
    with _drawing(path, digest, 7, 4.2) as figure:
        axes = figure.subplots()
        points = figures["points"]
        costs = [1000 * point["gmacs"] for point in points]
        axes.plot(costs, _percents(points), color=_CASCADE, linewidth=1.6, label="cascade")
        low, high = _percents(points, "low"), _percents(points, "high")
        axes.fill_between(costs, low, high, color=_CASCADE, alpha=0.12, linewidth=0)
        _error_bars(axes, figures["exits"], _CASCADE, "o", "every picture at one exit")
        if figures["statics"]:
            _error_bars(axes, figures["statics"], _STATIC, "s", "static models")
            for static in figures["statics"]:
                place = (1000 * static["gmacs"], 100 * static["accuracy"])
                label = f"static {static['stage']}"
                axes.annotate(label, place, xytext=(7, 5), textcoords="offset points")
        own = figures["own_thresholds"]
        if own is not None:
            place = (1000 * own["gmacs"], 100 * own["accuracy"])
            axes.plot(*place, "*", color="black", markersize=11, label="its own thresholds")
        axes.set_xlabel("mean cost of a picture, MMACs")
        axes.set_ylabel("accuracy on test pictures, %")
        axes.grid(alpha=0.25)
        axes.legend(loc="lower right", frameon=False)


def _percents(rows: Any, field: str = "accuracy") -> list[float]:
    return [100 * row[field] for row in rows]


def _error_bars(axes: Any, rows: Any, colour: str, mark: str, label: str) -> None:
    """Points with their intervals."""
    values = _percents(rows)
    below = [value - low for value, low in zip(values, _percents(rows, "low"), strict=True)]
    above = [high - value for value, high in zip(values, _percents(rows, "high"), strict=True)]
    axes.errorbar(
        [1000 * row["gmacs"] for row in rows],
        values,
        yerr=(below, above),
        fmt=mark,
        color=colour,
        markersize=6,
        capsize=3,
        linewidth=1,
        label=label,
    )


def _ablation(variants: Any, path: Path, digest: str) -> None:
    with _drawing(path, digest, 7, 3.6) as figure:
        axes = figure.subplots()
        colours = (_CASCADE, "#6a9f58", "#b8860b", _OTHER, _STATIC)
        for place, variant in enumerate(variants):
            values = _percents(variant["exits"])
            low, high = (_percents(variant["exits"], end) for end in ("low", "high"))
            spread = (place - (len(variants) - 1) / 2) * 0.12
            axes.errorbar(
                [number + spread for number in range(1, len(values) + 1)],
                values,
                yerr=(
                    [value - end for value, end in zip(values, low, strict=True)],
                    [end - value for value, end in zip(values, high, strict=True)],
                ),
                fmt=_MARKS[place],
                color=colours[place],
                capsize=3,
                linewidth=1,
                label=variant["variant"],
            )
        axes.set_xticks(range(1, len(variants[0]["exits"]) + 1))
        axes.set_xlabel("exit")
        axes.set_ylabel("accuracy on test pictures, %")
        axes.grid(alpha=0.25, axis="y")
        axes.legend(loc="upper left", frameon=False)


def _signals(schedules: Any, path: Path, digest: str) -> None:
    with _drawing(path, digest, 3.6 * len(schedules) + 0.6, 3.4) as figure:
        panels = figure.subplots(1, len(schedules), sharey=True, squeeze=False)[0]
        for axes, (name, rows) in zip(panels, schedules.items(), strict=True):
            costs = [1000 * row["gmacs"] for row in rows]
            for signal, colour in (("margin", _CASCADE), ("entropy", _STATIC)):
                gaps = [row["difference"][signal] for row in rows]
                axes.plot(costs, _percents(gaps, "value"), ".-", color=colour, label=signal)
                low, high = _percents(gaps, "low"), _percents(gaps, "high")
                axes.fill_between(costs, low, high, color=colour, alpha=0.12, linewidth=0)
            axes.axhline(0, color="black", linewidth=0.8)
            axes.set_title(f"{name} schedule", fontsize=10)
            axes.set_xlabel("mean cost of a picture, MMACs")
            axes.grid(alpha=0.25)
        panels[0].set_ylabel("accuracy less that of\nconfidence, points")
        panels[0].legend(frameon=False)


def _schedule(name: str) -> Callable[[Results], Any]:
    return lambda results: results["schedules"].get(name)


PLOTS = (
    Plot("evidence-curves-short.svg", "curves", _schedule("short"), _curve),
    Plot("evidence-curves-long.svg", "curves", _schedule("long"), _curve),
    Plot("evidence-ablation.svg", "ablation", lambda results: results["variants"], _ablation),
    Plot("evidence-signals.svg", "signals", lambda results: results["schedules"], _signals),
)
