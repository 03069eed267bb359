"""The ladder of thresholds that `dvt tag --deadline` may move on, and what is known of it."""

from dataclasses import dataclass

import dvt
from dvt.calibration import (
    HeldOut,
    ThresholdSet,
    certified_rows,
    nested_rows,
    rows_above,
    rungs_of,
)
from jobs.calibration.fit import check_allows
from jobs.calibration.recorded_exits import calibrated_model, load_calibration_set
from jobs.calibration.thresholds import DEFAULT_DELTA, warn_of_other_precision
from jobs.calibration.thresholds_file import CalibratedModel
from pipeline.errors import UsageError
from pipeline.units import percent

__all__ = ["ThresholdSchedule", "found_ladder", "load_threshold_schedule"]

_MOST_RUNGS = 48


@dataclass(frozen=True, slots=True)
class ThresholdSchedule:
    """Rungs, and lines for a person about what they promise."""

    threshold_sets: tuple[ThresholdSet, ...]
    known: tuple[str, ...]


def load_threshold_schedule(
    model: str, max_drop: float | None, floor: float | None
) -> ThresholdSchedule:
    """The ladder by the held-out exits that are kept with a model.

    Args:
        model: what `dvt.load_model` takes.
        max_drop: largest loss against full depth, to be proved; or …
        floor: … least accuracy to be expected (agreement with full depth, where the held-out
            images have no labels).

    Raises:
        UsageError: there are no such exits, or they do not allow it.
        ModelError: the model cannot be used.
    """
    identity = calibrated_model(dvt.load_model(model))
    if len(identity.gmacs_per_exit) == 1:
        raise UsageError(
            f"deadline: {identity.name} has one exit, so that there is nothing to move"
        )
    held_out = load_calibration_set(model, identity)
    ladder = found_ladder(held_out, identity, max_drop, floor)
    warn_of_other_precision(held_out.dtype)
    return ladder


def found_ladder(
    held_out: HeldOut, model: CalibratedModel, max_drop: float | None, floor: float | None
) -> ThresholdSchedule:
    """The ladder by given held-out exits; see `load_threshold_schedule`."""
    of, costs = held_out.risk, model.gmacs_per_exit
    if max_drop is not None:
        first, second = held_out.halves()
        check_allows(max_drop, DEFAULT_DELTA, "agreement", first, second)
        rows = nested_rows(first.confidences, first.agrees, first.right(of), costs)
        right = second.right(of)
        rows = certified_rows(rows, second.confidences, right, max_drop, DEFAULT_DELTA)
        limit = f"certified, whichever are used when: {_lost(of, max_drop)}"
    else:
        assert floor is not None
        first, second = _halves(held_out)
        right = second.right(of)
        rows = nested_rows(first.confidences, first.agrees, first.right(of), costs)
        rows = rows_above(rows, second.confidences, right, floor)
        if not rows:
            raise UsageError(
                f"floor: must be at most full depth's {of} on the second half of {held_out.data}, "
                f"{percent(round(float(right[-1].mean()), 4))} (got {percent(floor)})"
            )
        limit = (
            f"expected, whichever are used when: {of} of at least {percent(floor)} on "
            f"{held_out.data}"
        )
    threshold_sets = rungs_of(rows, held_out.confidences, costs, _MOST_RUNGS)
    if len(threshold_sets) == 1:
        limit = "nothing cheaper than full depth is allowed, so that no time can be saved"
    return ThresholdSchedule(threshold_sets, (limit, _range(threshold_sets)))


def _halves(held_out: HeldOut) -> tuple[HeldOut, HeldOut]:
    first, second = held_out.halves()
    if not first.num_images or not second.num_images:
        raise UsageError(f"floor: the {held_out.num_images} held-out images are too few for it")
    return first, second


def _lost(of: str, max_drop: float) -> str:
    sure = percent(1 - DEFAULT_DELTA)
    if of == "agreement":
        return f"at most {percent(max_drop)} of the answers differ from full depth's, {sure} sure"
    return f"at most {percent(max_drop)} of accuracy is lost against full depth, {sure} sure"


def _range(threshold_sets: tuple[ThresholdSet, ...]) -> str:
    loosest = " / ".join(f"{value:.4f}" for value in threshold_sets[-1].thresholds)
    share = percent(round(threshold_sets[-1].gmacs / threshold_sets[0].gmacs, 3))
    return f"{len(threshold_sets)} sets of thresholds, down to {loosest} at {share} of full depth's MACs"
