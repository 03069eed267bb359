"""Evaluation of a model: exits and curves on some data, beside the figures in its checkpoint."""

from dataclasses import asdict, dataclass
from typing import Any

from dvt.calibration import OperatingPoint, RecordedExits
from dvt.exits import exit_thresholds
from dvt.model import Calibration, Model
from jobs.evaluation.curves import (
    Curve,
    accuracy_at,
    budgets_for,
    cross_fitted_sweep,
    evaluate_rows,
    sweep_rows,
)

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The results of `dvt eval`.

    Attributes:
        recorded: exits on the evaluated data.
        gmacs_per_exit: cumulative.
        default: point of the model's default thresholds; None if it has none for this exit signal.
        stored: points of the sweep that is stored in the checkpoint; empty for another signal.
        fitted: points of the sweep fitted here; empty for a single exit.
        calibration: the figures in the checkpoint.
        budgets: mean costs at which to compare the curves, GMACs.
    """

    recorded: RecordedExits
    gmacs_per_exit: tuple[float, ...]
    default: OperatingPoint | None
    stored: tuple[OperatingPoint, ...]
    fitted: tuple[OperatingPoint, ...]
    calibration: Calibration
    budgets: tuple[float, ...]

    @property
    def curves(self) -> dict[str, Curve]:
        """The measured curves, by name: `stored` and `fitted`, without empty ones."""
        points = {"stored": self.stored, "fitted": self.fitted}
        return {
            name: tuple((point.gmacs, point.accuracy) for point in curve)
            for name, curve in points.items()
            if curve
        }

    def at_budgets(self) -> list[tuple[float, dict[str, float | None]]]:
        """Each budget, and accuracies there: of the curves, and as the checkpoint reports it.

        None beyond the ends of a curve.
        """
        curves = dict(self.curves)
        if self.calibration.curve:
            curves["checkpoint"] = self.calibration.curve
        return [
            (budget, {name: accuracy_at(curve, budget) for name, curve in curves.items()})
            for budget in self.budgets
        ]

    def as_json(self) -> dict[str, Any]:
        """All figures and all points."""
        return {
            "images": self.recorded.num_images,
            "unreadable": self.recorded.num_unreadable,
            "gmacs_per_exit": self.gmacs_per_exit,
            "accuracy_per_exit": self.recorded.accuracy_per_exit,
            "default": None if self.default is None else asdict(self.default),
            "checkpoint": {
                "data": self.calibration.data,
                "accuracy_per_exit": self.calibration.accuracy_per_exit,
            },
            "budgets": [
                {"gmacs": budget, **accuracies} for budget, accuracies in self.at_budgets()
            ],
            "curves": {
                "stored": [asdict(point) for point in self.stored],
                "fitted": [asdict(point) for point in self.fitted],
            },
        }


def evaluate(
    model: Model, recorded: RecordedExits, fit_on: RecordedExits | None = None
) -> Evaluation:
    """Evaluates a model by its recorded exits.

    Args:
        model: its costs, and the thresholds and figures in its checkpoint.
        recorded: exits on labelled data to evaluate it by.
        fit_on: exits on other data to fit thresholds to; None to cross-fit them on `recorded`.

    Raises:
        ModelError: the checkpoint has thresholds for another number of exits.
    """
    spec = model.spec
    calibration = model.calibration if recorded.signal == "label" else Calibration()
    costs = spec.gmacs_per_exit
    rows = [exit_thresholds(row, spec.num_stages) for row in calibration.threshold_sweep]
    fitted: tuple[OperatingPoint, ...] = ()
    if spec.num_stages > 1:  # a single exit has no thresholds
        fitted = (
            cross_fitted_sweep(recorded, costs)
            if fit_on is None
            else evaluate_rows(recorded, sweep_rows(fit_on), costs)
        )
    default = None
    if calibration.thresholds is not None:
        (default,) = evaluate_rows(recorded, [calibration.thresholds], costs)
    return Evaluation(
        recorded=recorded,
        gmacs_per_exit=costs,
        default=default,
        stored=evaluate_rows(recorded, rows, costs),
        fitted=fitted,
        calibration=calibration,
        budgets=budgets_for(spec.name, costs) if spec.num_stages > 1 else (),
    )
