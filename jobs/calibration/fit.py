"""From recorded exits to thresholds: for a mean cost, a bounded risk, or given shares of exits."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dvt.calibration import (
    HeldOut,
    JointSearch,
    Risk,
    betting_p_value,
    candidates_from_safest,
    certified_thresholds,
    exits_taken,
    fewest_images,
    good_bet,
    thresholds_for_shares,
)
from dvt.exits import FULL_DEPTH
from jobs.calibration.thresholds_file import Asked, CalibratedModel, Figures, ThresholdsFile
from pipeline.errors import UsageError
from pipeline.units import percent

__all__ = ["calibrate", "check_allows", "figures_of"]

Exits = NDArray[np.int64]


def calibrate(held_out: HeldOut, model: CalibratedModel, asked: Asked, of: Risk) -> ThresholdsFile:
    """Thresholds for what was asked, with the figures to expect.

    Args:
        held_out: what the model's exits said about images that it was not trained on.
        model: its identity and costs.
        asked: exactly one of its targets.
        of: what a budget is to buy most of, and a bounded drop bounds.

    Raises:
        UsageError: the images do not allow it.
        ModelError: the model does not allow it.
    """
    if len(model.gmacs_per_exit) == 1:
        raise UsageError(f"model: {model.name} has one exit, so that there is nothing to choose")
    right, costs = held_out.right(of), model.gmacs_per_exit
    certificate = None
    if asked.max_drop is not None and asked.delta is not None:
        first, second = held_out.halves()
        check_allows(asked.max_drop, asked.delta, of, first, second)
        candidates = candidates_from_safest(first.confidences, first.right(of), costs)
        certificate = certified_thresholds(
            candidates, second.confidences, second.right(of), of, asked.max_drop, asked.delta
        )
        thresholds = certificate.thresholds
        fitted = figures_of(first, thresholds, costs)
        expected: Figures | None = figures_of(second, thresholds, costs)
    else:
        thresholds = _fitted(held_out, right, asked, costs)
        fitted = figures_of(held_out, thresholds, costs)
        expected = _cross_fitted(held_out, right, asked, costs)
    return ThresholdsFile(
        thresholds=thresholds,
        asked=asked,
        of=of,
        model=model,
        data=held_out.data,
        dtype=held_out.dtype,
        num_images=held_out.num_images,
        num_unreadable=held_out.num_unreadable,
        fitted=fitted,
        held_out=expected,
        certificate=certificate,
    )


def figures_of(
    held_out: HeldOut, thresholds: Sequence[float], gmacs_per_exit: Sequence[float]
) -> Figures:
    """What thresholds give on these images."""
    return _figures(held_out, exits_taken(held_out.confidences, thresholds), gmacs_per_exit)


def _figures(held_out: HeldOut, exits_n: Exits, gmacs_per_exit: Sequence[float]) -> Figures:
    images, correct = np.arange(held_out.num_images), held_out.correct
    counts = np.bincount(exits_n, minlength=len(gmacs_per_exit))
    return Figures(
        num_images=held_out.num_images,
        gmacs=float(counts @ np.array(gmacs_per_exit)) / held_out.num_images,
        exits=tuple(int(count) for count in counts),
        agreement=float(held_out.agrees[exits_n, images].mean()),
        accuracy=None if correct is None else float(correct[exits_n, images].mean()),
        accuracy_full_depth=None if correct is None else float(correct[-1].mean()),
    )


def _fitted(
    held_out: HeldOut, right: NDArray[np.bool_], asked: Asked, gmacs_per_exit: Sequence[float]
) -> tuple[float, ...]:
    """Thresholds for a budget or a mix of exits."""
    if asked.exit_mix is not None:
        if len(asked.exit_mix) != len(gmacs_per_exit):
            raise UsageError(
                f"exit_mix: must have one share for each of {len(gmacs_per_exit)} exits "
                f"(got {len(asked.exit_mix)})"
            )
        found = thresholds_for_shares(held_out.confidences, asked.exit_mix)
        return tuple(min(value, FULL_DEPTH) for value in found)
    assert asked.budget_gmacs is not None
    return JointSearch(held_out.confidences, right, gmacs_per_exit).at_budget(asked.budget_gmacs)


def _cross_fitted(
    held_out: HeldOut, right: NDArray[np.bool_], asked: Asked, gmacs_per_exit: Sequence[float]
) -> Figures | None:
    """Figures of every image under thresholds that were fitted on the other half."""
    second = held_out.in_second_half
    if second.all() or not second.any():
        return None
    exits = np.empty(held_out.num_images, dtype=np.int64)
    first_half, second_half = held_out.halves()
    for fit, fit_rows, judge, judge_rows in (
        (first_half, ~second, second_half, second),
        (second_half, second, first_half, ~second),
    ):
        thresholds = _fitted(fit, right[:, fit_rows], asked, gmacs_per_exit)
        exits[judge_rows] = exits_taken(judge.confidences, thresholds)
    return _figures(held_out, exits, gmacs_per_exit)


def check_allows(epsilon: float, delta: float, of: Risk, first: HeldOut, second: HeldOut) -> None:
    """Refuses images so few that not even a loss of nothing would prove anything."""
    needed = _fewest(epsilon, delta, of)
    if min(first.num_images, second.num_images) < needed:
        in_all = 2 * needed + math.ceil(6 * math.sqrt(needed))  # the halves differ by chance
        raise UsageError(
            f"max_drop: {percent(epsilon)} of {of} with delta {percent(delta)} takes at least "
            f"{needed:,} images in each half, some {in_all:,} in all "
            f"(got {first.num_images:,} and {second.num_images:,} from {first.data})"
        )


def _fewest(epsilon: float, delta: float, of: Risk) -> int:
    """Images that prove the bound if none of them loses anything."""
    least = fewest_images(epsilon, delta)
    if of == "agreement":
        return least
    number = least
    while True:
        nothing_lost = np.zeros(number)
        bet = good_bet(nothing_lost, number, epsilon, delta)
        if betting_p_value(nothing_lost, epsilon, bet) <= delta:
            return number
        number = math.ceil(1.01 * number) + 1
