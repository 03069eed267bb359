"""An evaluation as lines for a person."""

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
    "joint": "fitted jointly",
    "checkpoint": "checkpoint's own",
}
_WIDTH = 100
_ROUNDING = 1e-9  # less than any image's share


def evaluation_lines(evaluation: Evaluation) -> list[str]:
    """Accuracy and cost of the exits, of the model's own thresholds, and of the curves."""
    record, calibration = evaluation.record, evaluation.calibration
    lines = [f"{record.num_images:,} pictures judged, {record.num_unreadable:,} unreadable"]
    num_exits = len(evaluation.gmacs_per_exit)
    # A stranger's file may list another number of exits; then it says nothing about these.
    is_known = len(calibration.accuracy_per_exit) == num_exits
    own = calibration.accuracy_per_exit if is_known else (None,) * num_exits
    exits = [
        (str(number), cost_text(gmacs), _percent(accuracy), _percent(own_accuracy))
        for number, (gmacs, accuracy, own_accuracy) in enumerate(
            zip(evaluation.gmacs_per_exit, record.accuracy_per_exit, own, strict=True), start=1
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
        budgets = [
            (cost_text(budget), *(_percent(accuracy) for accuracy in accuracies.values()))
            for budget, accuracies in evaluation.at_budgets()
        ]
        titles = (CURVE_TITLES[name] for name in evaluation.curves)
        lines += _table(("mean cost", *titles), budgets)
    if gains := evaluation.joint_gains():
        at_least, better = (
            sum(gain > bound for gain in gains) for bound in (-_ROUNDING, _ROUNDING)
        )
        lines.append(
            f"fitted jointly: at least as accurate as the sweep at {at_least} of {len(gains)} "
            f"costs, more accurate at {better}, by {100 * max(gains):.2f} points at most"
        )
    if calibration.data:
        lines.append(f"the checkpoint's own figures: {calibration.data}")
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
