"""Charts of accuracy against cost, with matplotlib (the extra `plot`)."""

from pathlib import Path

from jobs.evaluation.evaluation import Evaluation
from jobs.evaluation.text import CURVE_TITLES
from pipeline.errors import UsageError

__all__ = ["write_curve"]


def write_curve(path: Path, title: str, evaluation: Evaluation) -> None:
    """Draws the curves as lines, the exits as points, and the default thresholds as a star.

    Args:
        path: SVG file to write; the same figures give the same bytes.
        title: of the chart.
        evaluation: the figures.

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
        for name, curve in evaluation.curves.items():
            axes.plot(
                [1000 * gmacs for gmacs, _ in curve],
                [100 * accuracy for _, accuracy in curve],
                marker=".",
                markersize=4,
                linewidth=1.4,
                label=CURVE_TITLES[name],
            )
        exits = list(
            zip(evaluation.gmacs_per_exit, evaluation.recorded.accuracy_per_exit, strict=True)
        )
        axes.plot(
            [1000 * gmacs for gmacs, _ in exits],
            [100 * accuracy for _, accuracy in exits],
            marker="o",
            linestyle="none",
            markersize=7,
            label="all images at one exit",
        )
        for number, (gmacs, accuracy) in enumerate(exits, start=1):
            axes.annotate(
                f"exit {number}",
                (1000 * gmacs, 100 * accuracy),
                xytext=(6, -12),
                textcoords="offset points",
            )
        if evaluation.default is not None:
            axes.plot(
                1000 * evaluation.default.gmacs,
                100 * evaluation.default.accuracy,
                marker="*",
                linestyle="none",
                markersize=13,
                label="default thresholds",
            )
        axes.set_xlabel("mean cost per image, MMACs")
        axes.set_ylabel("top-1 accuracy, %")
        axes.set_title(title)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})
