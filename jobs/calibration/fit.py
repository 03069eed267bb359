"""Fits thresholds to recorded exits: for a mean cost, a bounded loss, or given shares of exits."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dvt.calibration import (
    Certificate,
    RecordedExits,
    Risk,
    Thresholds,
    ThresholdSchedule,
    certified_schedule,
    certified_thresholds,
    exits_taken,
    schedule_above_floor,
    thresholds_for_budget,
    thresholds_for_shares,
)
from jobs.calibration.thresholds_file import Asked, CalibratedModel, Figures, ThresholdsFile
from pipeline.errors import UsageError

__all__ = ["DEFAULT_DELTA", "calibrate", "fit_schedule"]

DEFAULT_DELTA = 0.05
"""Probability that a certified bound fails."""


def calibrate(
    recorded: RecordedExits, model: CalibratedModel, asked: Asked, of: Risk
) -> ThresholdsFile:
    """Fits thresholds, with the figures to expect of them.

    Args:
        recorded: the model's exits on images that it was not trained on.
        model: its identity and costs.
        asked: exactly one target.
        of: what `asked.max_drop` bounds.

    Raises:
        UsageError: the model has another number of exits than the target.
        ModelError: the target is out of reach with this model or these images.
    """
    costs = model.gmacs_per_exit
    if len(costs) == 1:
        raise UsageError(f"model: {model.name} has one exit, so it has no thresholds to fit")
    certificate: Certificate | None = None
    if asked.max_drop is not None and asked.delta is not None:
        certificate = certified_thresholds(recorded, costs, of, asked.max_drop, asked.delta)
        first, second = recorded.halves()
        thresholds = certificate.thresholds
        fitted = _figures(first, exits_taken(first.confidences, thresholds), costs)
        expected: Figures | None = _figures(
            second, exits_taken(second.confidences, thresholds), costs
        )
    else:
        thresholds = _fit(recorded, asked, costs)
        fitted = _figures(recorded, exits_taken(recorded.confidences, thresholds), costs)
        expected = _cross_fitted(recorded, asked, costs)
    return ThresholdsFile(
        thresholds=thresholds,
        asked=asked,
        of=of,
        signal=recorded.signal,
        model=model,
        data=recorded.data,
        dtype=recorded.dtype,
        num_images=recorded.num_images,
        num_unreadable=recorded.num_unreadable,
        fitted=fitted,
        held_out=expected,
        certificate=certificate,
    )


def fit_schedule(
    recorded: RecordedExits, model: CalibratedModel, max_drop: float | None, floor: float | None
) -> ThresholdSchedule:
    """Fits the threshold sets that a run with a deadline may use.

    Args:
        recorded: the model's exits on images that it was not trained on.
        model: its identity and costs.
        max_drop: largest loss against full depth, to be proved at `DEFAULT_DELTA`; or None, and
        floor: lowest accuracy to expect (agreement with full depth for images without labels).

    Raises:
        UsageError: the model has one exit.
        ModelError: the target is out of reach with this model or these images.
    """
    costs = model.gmacs_per_exit
    if len(costs) == 1:
        raise UsageError(f"deadline: {model.name} has one exit, so it has no thresholds to change")
    if max_drop is not None:
        return certified_schedule(recorded, costs, max_drop, DEFAULT_DELTA)
    assert floor is not None
    return schedule_above_floor(recorded, costs, floor)


def _fit(recorded: RecordedExits, asked: Asked, gmacs_per_exit: Sequence[float]) -> Thresholds:
    """Thresholds for a budget or a mix of exits."""
    if asked.exit_mix is None:
        assert asked.budget_gmacs is not None
        return thresholds_for_budget(recorded.confidences, gmacs_per_exit, asked.budget_gmacs)
    if len(asked.exit_mix) != len(gmacs_per_exit):
        raise UsageError(
            f"exit_mix: must have one share for each of {len(gmacs_per_exit)} exits "
            f"(got {len(asked.exit_mix)})"
        )
    return thresholds_for_shares(recorded.confidences, asked.exit_mix)


def _cross_fitted(
    recorded: RecordedExits, asked: Asked, gmacs_per_exit: Sequence[float]
) -> Figures | None:
    """Figures of each image under thresholds fitted on the other half; None if a half is empty."""
    second = recorded.in_second_half
    if second.all() or not second.any():
        return None
    exits_n = np.empty(recorded.num_images, dtype=np.int64)
    halves = recorded.halves()
    for fit_on, other, rows in zip(halves, halves[::-1], (second, ~second), strict=True):
        thresholds = _fit(fit_on, asked, gmacs_per_exit)
        exits_n[rows] = exits_taken(other.confidences, thresholds)
    return _figures(recorded, exits_n, gmacs_per_exit)


def _figures(
    recorded: RecordedExits, exits_n: NDArray[np.int64], gmacs_per_exit: Sequence[float]
) -> Figures:
    images, correct = np.arange(recorded.num_images), recorded.correct
    counts = np.bincount(exits_n, minlength=len(gmacs_per_exit))
    return Figures(
        num_images=recorded.num_images,
        gmacs=float(counts @ np.array(gmacs_per_exit)) / recorded.num_images,
        exits=tuple(int(count) for count in counts),
        agreement=float(recorded.agrees[exits_n, images].mean()),
        accuracy=None if correct is None else float(correct[exits_n, images].mean()),
        accuracy_full_depth=None if correct is None else float(correct[-1].mean()),
    )
