"""Chooses the thresholds of a run, and says what they promise."""

import logging
from pathlib import Path

import dvt
from dvt.calibration import ThresholdSchedule
from dvt.device import best_device, inference_dtype
from dvt.loading.checkpoint import checkpoint_folder, load_calibration
from jobs.calibration.fit import DEFAULT_DELTA, calibrate, fit_schedule
from jobs.calibration.recorded_exits import calibrated_model, load_calibration_set
from jobs.calibration.text import default_promise, promise, schedule_promises
from jobs.calibration.thresholds_file import Asked, ThresholdsFile, read_thresholds
from pipeline.errors import UsageError

__all__ = ["chosen_schedule", "chosen_thresholds"]

logger = logging.getLogger(__name__)


def chosen_thresholds(
    model: str, path: Path | None, budget_gmacs: float | None, max_drop: float | None
) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """Thresholds from a file, or fitted to the calibration set of the model.

    Args:
        model: what `dvt.load_model` takes.
        path: file with thresholds.
        budget_gmacs: mean cost of an image.
        max_drop: largest loss against full depth.

    Returns:
        The thresholds, None for the model's own; and lines that say what they promise.

    Raises:
        UsageError: the file is for another model, or the model has no calibration set.
        ModelError: the model cannot be used, or not for that target.
    """
    if path is None and budget_gmacs is None and max_drop is None:
        folder = checkpoint_folder(model)
        provenance = None if folder is None else load_calibration(folder).provenance
        text = default_promise(provenance)
        if provenance is None or text is None:
            return None, ()
        _warn_of_other_precision(provenance.dtype)
        return None, (text,)
    identity = calibrated_model(dvt.load_model(model))
    if path is None:
        delta = None if max_drop is None else DEFAULT_DELTA
        asked = Asked(budget_gmacs=budget_gmacs, max_drop=max_drop, delta=delta)
        recorded = load_calibration_set(model, identity)
        file = calibrate(recorded, identity, asked, recorded.risk)
    else:
        content = read_thresholds(path)
        if not isinstance(content, ThresholdsFile):
            return content, ()
        file = content
    if file.model.digest != identity.digest:
        raise UsageError(
            f"thresholds: {path} is for {file.model.name} ({file.model.digest}), not for "
            f"{identity.name} ({identity.digest}); run dvt calibrate for this model"
        )
    _warn_of_other_precision(file.dtype)
    return file.thresholds, (promise(file),)


def chosen_schedule(
    model: str, max_drop: float | None, floor: float | None
) -> tuple[ThresholdSchedule, tuple[str, ...]]:
    """Threshold sets for a deadline, fitted to the calibration set of the model.

    Args:
        model: what `dvt.load_model` takes.
        max_drop: largest loss against full depth, to be proved; or None, and
        floor: lowest accuracy to expect (agreement with full depth for images without labels).

    Returns:
        The schedule, and lines that say what it promises.

    Raises:
        UsageError: the model has no calibration set, or one exit only.
        ModelError: the model cannot be used, or not for that target.
    """
    identity = calibrated_model(dvt.load_model(model))
    recorded = load_calibration_set(model, identity)
    schedule = fit_schedule(recorded, identity, max_drop, floor)
    _warn_of_other_precision(recorded.dtype)
    return schedule, schedule_promises(schedule, recorded, max_drop, floor)


def _warn_of_other_precision(calibrated_in: str) -> None:
    used = str(inference_dtype(best_device())).removeprefix("torch.")
    if calibrated_in != used:
        # Rounding changes confidences, and a proof covers only the confidences it was made with.
        logger.warning(
            "the thresholds were calibrated in %s, but this machine computes in %s: what is "
            "promised of them holds only approximately; run dvt calibrate here",
            calibrated_in,
            used,
        )
