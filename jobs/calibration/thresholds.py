"""The options that choose a run's thresholds, and the choice."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

import dvt
from dvt.device import best_device, inference_dtype
from dvt.exits import FULL_DEPTH
from dvt.labels import SureOf
from jobs.calibration.calibration_set import calibrated_model, check_signal, load_calibration_set
from jobs.calibration.fit import DEFAULT_DELTA, calibrate, fit_schedule
from jobs.calibration.text import default_promise, promise, schedule_promises
from jobs.calibration.thresholds_file import Asked, ThresholdsFile, read_thresholds
from pipeline.deadline.policy import DeadlineSettings
from pipeline.errors import UsageError
from pipeline.options import Options
from pipeline.units import Gmacs, Seconds, Share

__all__ = ["ThresholdChoice", "ThresholdOptions", "choose_thresholds"]

logger = logging.getLogger(__name__)


class ThresholdOptions(Options):
    """Threshold options; without any, the model's own thresholds apply."""

    thresholds: Annotated[
        Path | None,
        Field(description="JSON file with thresholds: from dvt calibrate, or a list of numbers"),
    ] = None
    budget: Annotated[
        Gmacs,
        Field(description="choose thresholds for this mean cost per image in MACs, e.g. 1.2G"),
    ] = None
    max_drop: Annotated[
        Share,
        Field(description="choose thresholds proven to lose at most this, e.g. 1%"),
    ] = None
    full_depth: Annotated[bool, Field(description="run every image through all stages")] = False
    deadline: Annotated[
        Seconds,
        Field(
            description="end within this time, e.g. 2h or 45m: the run changes its thresholds, "
            "within the limits of --max-drop or --floor"
        ),
    ] = None
    floor: Annotated[
        Share, Field(description="with --deadline: lowest expected accuracy, e.g. 95%")
    ] = None

    @model_validator(mode="after")
    def _options_agree(self) -> Self:
        names = ("thresholds", "budget", "max_drop", "full_depth")
        given = [name for name in names if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{given[0]}: cannot be combined with {given[1]}")
        if self.deadline is None:
            if self.floor is not None:
                raise ValueError("floor: applies to deadline only; see also max_drop")
            return self
        if given and given != ["max_drop"]:
            raise ValueError(
                f"deadline: changes the thresholds, so it cannot be combined with {given[0]}"
            )
        if (self.max_drop is None) == (self.floor is None):
            raise ValueError("deadline: needs either max_drop or floor as limit of the thresholds")
        return self


@dataclass(frozen=True, slots=True)
class ThresholdChoice:
    """Thresholds of a run.

    Attributes:
        thresholds: one for each exit but the last; None for the model's own.
        promises: lines that say what is known of them.
        deadline: with the threshold sets that a run with a deadline may use.
    """

    thresholds: tuple[float, ...] | None
    promises: tuple[str, ...] = ()
    deadline: DeadlineSettings | None = None


def choose_thresholds(
    options: ThresholdOptions,
    source: str,
    model: dvt.Model,
    dtype: str | None = None,
    sure_of: SureOf = "label",
) -> ThresholdChoice:
    """Chooses thresholds from a file, or from the exits recorded with the model.

    Args:
        options: how to choose.
        source: where the model was loaded from, as for `dvt.load_model`.
        model: loaded.
        dtype: that the run computes in; None for this machine's choice.
        sure_of: what the thresholds apply to.

    Raises:
        UsageError: the file is for another model or signal, or the recorded exits are missing or
            too few.
        ModelError: no thresholds of the model meet the budget, or it has no groups to be sure of.
    """
    model.groups.part_ids(sure_of)  # raises if there are none
    signal = model.groups.signal(sure_of)
    if options.full_depth:
        return ThresholdChoice((FULL_DEPTH,) * (model.spec.num_stages - 1))
    if options.thresholds is not None:
        return _from_file(options.thresholds, model, dtype, signal)
    if options.budget is None and options.max_drop is None and options.floor is None:
        return _defaults(model, dtype, sure_of)
    identity = calibrated_model(model)
    recorded = load_calibration_set(source, identity, signal)
    if options.deadline is not None:
        schedule = fit_schedule(recorded, identity, options.max_drop, options.floor)
        if options.max_drop is not None:
            _warn_of_other_precision(recorded.dtype, dtype)
        return ThresholdChoice(
            schedule.loosest,
            schedule_promises(schedule, recorded, options.max_drop, options.floor),
            DeadlineSettings(options.deadline, schedule.threshold_sets),
        )
    delta = None if options.max_drop is None else DEFAULT_DELTA
    asked = Asked(budget_gmacs=options.budget, max_drop=options.max_drop, delta=delta)
    return _calibrated(calibrate(recorded, identity, asked, recorded.risk), dtype)


def _from_file(path: Path, model: dvt.Model, dtype: str | None, signal: str) -> ThresholdChoice:
    content = read_thresholds(path)
    if not isinstance(content, ThresholdsFile):
        return ThresholdChoice(content)
    identity = calibrated_model(model)
    if content.model.digest != identity.digest:
        raise UsageError(
            f"thresholds: {path} is for {content.model.name} ({content.model.digest}), not for "
            f"{identity.name} ({identity.digest}); run dvt calibrate for this model"
        )
    check_signal(f"thresholds: {path}", content.signal, signal)
    return _calibrated(content, dtype)


def _calibrated(file: ThresholdsFile, dtype: str | None) -> ThresholdChoice:
    if file.certificate is not None:
        _warn_of_other_precision(file.dtype, dtype)
    return ThresholdChoice(file.thresholds, (promise(file),))


def _defaults(model: dvt.Model, dtype: str | None, sure_of: SureOf) -> ThresholdChoice:
    if sure_of == "group" and model.spec.num_stages > 1:
        raise UsageError(
            "thresholds: a model's own apply to --sure-of label only; with group, give one of "
            "--thresholds, --budget, --max-drop and --full-depth"
        )
    provenance = model.calibration.provenance
    text = default_promise(provenance)
    if provenance is None or text is None:
        return ThresholdChoice(None)
    used = _precision(dtype)
    other = "" if used == provenance.dtype else f" (in {provenance.dtype}; this run uses {used})"
    return ThresholdChoice(None, (text + other,))


def _precision(dtype: str | None) -> str:
    return dtype or str(inference_dtype(best_device())).removeprefix("torch.")


def _warn_of_other_precision(calibrated_in: str, used: str | None) -> None:
    if calibrated_in != (used := _precision(used)):
        # Rounding changes confidences, and a proof covers only the confidences it was made with.
        logger.warning(
            "the thresholds were calibrated in %s, but this run computes in %s: what is "
            "promised of them holds only approximately; run dvt calibrate here",
            calibrated_in,
            used,
        )
