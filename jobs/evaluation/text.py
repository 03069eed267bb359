"""An evaluation as lines of text."""

import io
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from jobs.evaluation.evaluation import Evaluation
from pipeline.units import cost_text

__all__ = ["CURVE_TITLES", "evaluation_lines"]

CURVE_TITLES = {
    "stored": "stored thresholds",
    "fitted": "fitted here",
    "checkpoint": "reported by checkpoint",
}
_WIDTH = 100


def evaluation_lines(evaluation: Evaluation) -> list[str]:
    """Accuracy and cost of the exits, of the default thresholds, and of the curves."""
    recorded, calibration = evaluation.recorded, evaluation.calibration
    lines = [f"{recorded.num_images:,} images evaluated, {recorded.num_unreadable:,} unreadable"]
    num_exits = len(evaluation.gmacs_per_exit)
    # A foreign file may report another number of exits; its figures cannot be assigned then.
    fits = len(calibration.accuracy_per_exit) == num_exits
    reported = calibration.accuracy_per_exit if fits else (None,) * num_exits
    exits = [
        (str(number), cost_text(gmacs), _percent(accuracy), _percent(reported_accuracy))
        for number, (gmacs, accuracy, reported_accuracy) in enumerate(
            zip(evaluation.gmacs_per_exit, recorded.accuracy_per_exit, reported, strict=True),
            start=1,
        )
    ]
    lines += _table(("exit", "cost", "measured here", CURVE_TITLES["checkpoint"]), exits)
    if evaluation.default is not None:
        shares = " / ".join(f"{count:,}" for count in evaluation.default.exits)
        lines.append(
            f"with its thresholds: {_percent(evaluation.default.accuracy)} at "
            f"{cost_text(evaluation.default.gmacs)}, images per exit {shares}"
        )
    if evaluation.curves and evaluation.budgets:
        at_budgets = evaluation.at_budgets()
        budgets = [
            (cost_text(budget), *(_percent(accuracy) for accuracy in accuracies.values()))
            for budget, accuracies in at_budgets
        ]
        titles = (CURVE_TITLES[name] for name in at_budgets[0][1])
        lines += _table(("mean cost", *titles), budgets)
    if calibration.data:
        lines.append(f"figures of the checkpoint: {calibration.data}")
    return lines


def _percent(accuracy: float | None) -> str:
    return "–" if accuracy is None else f"{100 * accuracy:.2f} %"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    text = io.StringIO()
    Console(file=text, width=_WIDTH, color_system=None).print(table)
    return ["", *(line.rstrip() for line in text.getvalue().splitlines()), ""]
