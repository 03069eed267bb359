"""Which thresholds a run uses, and what is known of them."""

import logging
from pathlib import Path

import dvt
from dvt.device import best_device, inference_dtype
from jobs.calibration.default_thresholds import own_promise
from jobs.calibration.fit import calibrate
from jobs.calibration.recorded_exits import calibrated_model, load_calibration_set
from jobs.calibration.text import promise
from jobs.calibration.thresholds_file import Asked, ThresholdsFile, read_thresholds
from pipeline.errors import UsageError

__all__ = ["DEFAULT_DELTA", "chosen_thresholds", "warn_of_other_precision"]

logger = logging.getLogger(__name__)

DEFAULT_DELTA = 0.05


def chosen_thresholds(
    model: str, path: Path | None, budget_gmacs: float | None, max_drop: float | None
) -> tuple[tuple[float, ...] | None, tuple[str, ...]]:
    """Thresholds from a file, or from the held-out exits that are kept with the model.

    Args:
        model: what `dvt.load_model` takes.
        path: of a file with thresholds.
        budget_gmacs: mean cost of an image.
        max_drop: largest loss against full depth.

    Returns:
        The thresholds, None for the model's own; and lines for a person about what they promise.

    Raises:
        UsageError: the file is of another model, or there is nothing to choose them by.
        ModelError: the model cannot be used, or not for that budget.
    """
    if path is not None:
        content = read_thresholds(path)
        if not isinstance(content, ThresholdsFile):
            return content, ()
        identity = calibrated_model(dvt.load_model(model))
        if content.model.digest != identity.digest:
            raise UsageError(
                f"thresholds: {path} is for {content.model.name} ({content.model.digest}), not for "
                f"{identity.name} ({identity.digest}); run dvt calibrate for this model"
            )
        return _known(content)
    if budget_gmacs is None and max_drop is None:
        return None, _known_of_own(model)
    identity = calibrated_model(dvt.load_model(model))
    held_out = load_calibration_set(model, identity)
    asked = Asked(
        budget_gmacs=budget_gmacs,
        max_drop=max_drop,
        delta=None if max_drop is None else DEFAULT_DELTA,
    )
    return _known(calibrate(held_out, identity, asked, held_out.risk))


def _known(file: ThresholdsFile) -> tuple[tuple[float, ...], tuple[str, ...]]:
    warn_of_other_precision(file.dtype)
    return file.thresholds, (promise(file),)


def _known_of_own(model: str) -> tuple[str, ...]:
    known = own_promise(model)
    if known is None:
        return ()
    adopted, text = known
    warn_of_other_precision(adopted.dtype)
    return (text,)


def warn_of_other_precision(found_in: str) -> None:
    """Tells where thresholds were found in another precision than this machine runs."""
    used = str(inference_dtype(best_device())).removeprefix("torch.")
    if found_in != used:
        # Rounding moves confidences, and a proof is of the answers that it was made with.
        logger.warning(
            "the thresholds were found in %s and this machine runs %s: what is said of them holds "
            "nearly; dvt calibrate here makes it exact",
            found_in,
            used,
        )
