"""A judged model: its exits and curves on some data, beside the figures that it carries itself."""

from dataclasses import asdict, dataclass
from typing import Any

from dvt.calibration import OperatingPoint
from dvt.cascade import Calibration, Cascade
from dvt.cost import gmacs_per_exit
from dvt.exits import exit_thresholds
from jobs.evaluation.curves import (
    Curve,
    accuracy_at,
    budgets_for,
    cross_fitted,
    fitted,
    joint_rows,
    sweep,
    sweep_rows,
)
from jobs.evaluation.exit_record import ExitRecord

__all__ = ["Evaluation", "evaluate_record"]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that `dvt eval` tells.

    Attributes:
        record: of the judged data.
        gmacs_per_exit: cumulative.
        default: with the thresholds that the model uses by itself; None if it has none.
        stored: with the thresholds of the sweep that is stored in the checkpoint.
        fitted: with thresholds fitted by the reference's sweep; empty for a single exit.
        joint: with thresholds found jointly for the same mean costs; empty for a single exit.
        calibration: the figures that the checkpoint carries.
        budgets: mean costs to compare the curves at, GMACs.
    """

    record: ExitRecord
    gmacs_per_exit: tuple[float, ...]
    default: OperatingPoint | None
    stored: tuple[OperatingPoint, ...]
    fitted: tuple[OperatingPoint, ...]
    joint: tuple[OperatingPoint, ...]
    calibration: Calibration
    budgets: tuple[float, ...]

    @property
    def curves(self) -> dict[str, Curve]:
        """The curves that there are: `stored`, `fitted`, `joint`, `checkpoint`."""
        all_curves = {
            "stored": tuple((point.gmacs, point.accuracy) for point in self.stored),
            "fitted": tuple((point.gmacs, point.accuracy) for point in self.fitted),
            "joint": tuple((point.gmacs, point.accuracy) for point in self.joint),
            "checkpoint": self.calibration.curve,
        }
        return {name: curve for name, curve in all_curves.items() if curve}

    def at_budgets(self) -> list[tuple[float, dict[str, float | None]]]:
        """Each budget, and the accuracy of every curve there; None beyond a curve's ends."""
        return [
            (budget, {name: self._accuracy_at(name, budget) for name in self.curves})
            for budget in self.budgets
        ]

    def _accuracy_at(self, name: str, budget: float) -> float | None:
        """Accuracy of a curve at a mean cost; the joint one leaves unspent what buys nothing."""
        curve = self.curves[name]
        if name == "joint":
            budget = min(budget, max(gmacs for gmacs, _ in curve))
        return accuracy_at(curve, budget)

    def joint_gains(self) -> tuple[float, ...]:
        """Accuracy of the joint curve less that of the sweep, at the mean cost of each of its rows.

        A row that is cheaper than all of the joint curve is left out.
        """
        if not self.joint:
            return ()
        pairs = ((self._accuracy_at("joint", row.gmacs), row.accuracy) for row in self.fitted)
        return tuple(joint - swept for joint, swept in pairs if joint is not None)

    def as_json(self) -> dict[str, Any]:
        """All figures and all points."""
        return {
            "images": self.record.num_images,
            "unreadable": self.record.num_unreadable,
            "gmacs_per_exit": self.gmacs_per_exit,
            "accuracy_per_exit": self.record.accuracy_per_exit,
            "default": None if self.default is None else asdict(self.default),
            "checkpoint": {
                "data": self.calibration.data,
                "accuracy_per_exit": self.calibration.accuracy_per_exit,
            },
            "budgets": [
                {"gmacs": budget, **accuracies} for budget, accuracies in self.at_budgets()
            ],
            "joint_gains": self.joint_gains(),
            "curves": {
                "stored": [asdict(point) for point in self.stored],
                "fitted": [asdict(point) for point in self.fitted],
                "joint": [asdict(point) for point in self.joint],
                "checkpoint": [
                    {"gmacs": gmacs, "accuracy": accuracy}
                    for gmacs, accuracy in self.calibration.curve
                ],
            },
        }


def evaluate_record(
    model: Cascade, record: ExitRecord, fit_record: ExitRecord | None = None
) -> Evaluation:
    """Judges a model by what its exits said.

    Args:
        model: its costs, and the thresholds and figures that it carries.
        record: of the data to judge it by.
        fit_record: of other data to fit thresholds on; None to cross-fit them on `record`.

    Raises:
        ModelError: the model carries thresholds that no cascade of its size can have.
    """
    config, calibration, costs = model.config, model.calibration, gmacs_per_exit(model.config)
    rows = [exit_thresholds(row, config.num_stages) for row in calibration.threshold_sweep]
    swept, found = [
        ()
        if config.num_stages == 1  # a single exit leaves nothing to choose
        else cross_fitted(fit, record, costs)
        if fit_record is None
        else fitted(fit, record, fit_record, costs)
        for fit in (sweep_rows, joint_rows)
    ]
    default = None
    if calibration.thresholds is not None:
        (default,) = sweep(record, [calibration.thresholds], costs)
    return Evaluation(
        record=record,
        gmacs_per_exit=costs,
        default=default,
        stored=tuple(sweep(record, rows, costs)),
        fitted=tuple(swept),
        joint=tuple(found),
        calibration=calibration,
        budgets=budgets_for(config.name, costs) if config.num_stages > 1 else (),
    )
