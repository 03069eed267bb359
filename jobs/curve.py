"""Accuracy against cost, drawn with matplotlib (the extra `plot`)."""

from collections.abc import Sequence
from pathlib import Path

from dvt.calibration import OperatingPoint
from pipeline.errors import UsageError

__all__ = ["write_curve"]


def write_curve(
    path: Path,
    title: str,
    sweep: Sequence[OperatingPoint],
    chosen: OperatingPoint | None,
    exits: Sequence[tuple[float, float]],
) -> None:
    """Draws the sweep as a line, the exits as points, and the chosen thresholds as a star.

    Args:
        path: SVG file to write; the same figures give the same bytes.
        title: of the chart.
        sweep: operating points in order.
        chosen: where the model's own thresholds are.
        exits: (GMACs, accuracy) of each exit if every image left there.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("curve: needs matplotlib: pip install 'dvt-pipeline[plot]'") from error
    with mpl.rc_context({"svg.hashsalt": "dvt", "font.size": 10}):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.subplots()
        axes.plot(
            [1000 * point.gmacs for point in sweep],
            [100 * point.accuracy for point in sweep],
            marker=".",
            markersize=4,
            linewidth=1.4,
            label="cascade, threshold sweep",
        )
        axes.plot(
            [1000 * gmacs for gmacs, _ in exits],
            [100 * accuracy for _, accuracy in exits],
            marker="o",
            linestyle="none",
            markersize=7,
            label="every image at one exit",
        )
        for number, (gmacs, accuracy) in enumerate(exits, start=1):
            axes.annotate(
                f"exit {number}",
                (1000 * gmacs, 100 * accuracy),
                xytext=(6, -12),
                textcoords="offset points",
            )
        if chosen is not None:
            axes.plot(
                1000 * chosen.gmacs,
                100 * chosen.accuracy,
                marker="*",
                linestyle="none",
                markersize=13,
                label="shipped thresholds",
            )
        axes.set_xlabel("mean cost of an image, MMACs")
        axes.set_ylabel("top-1 accuracy, %")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})
