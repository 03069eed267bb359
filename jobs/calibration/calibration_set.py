"""The calibration set of a model: exits on held-out images, kept with the model."""

from pathlib import Path

import dvt
from dvt.calibration import HELD_OUT, RecordedExits
from dvt.labels import SureOf
from dvt.loading import find_model
from jobs.calibration.thresholds_file import CalibratedModel
from pipeline.errors import UsageError

__all__ = ["calibrated_model", "calibration_set_path", "check_signal", "load_calibration_set"]

_OF_GROUPS = "group_held_out.safetensors"


def calibration_set_path(model: str, sure_of: SureOf = "label") -> Path:
    """File of a model's calibration set: in its folder, or beside its file.

    Raises:
        UsageError: there is no such model.
    """
    path, name = find_model(model), HELD_OUT if sure_of == "label" else _OF_GROUPS
    if path is None:
        raise UsageError(f"model: {model} not found")
    return path / name if path.is_dir() else path.with_name(f"{path.name}.{name}")


def calibrated_model(model: dvt.Model) -> CalibratedModel:
    """Identity and costs of a loaded model."""
    return CalibratedModel(
        name=model.spec.name,
        digest=model.digest(),
        gmacs_per_exit=model.spec.gmacs_per_exit,
    )


def check_signal(what: str, made_for: str, used: str) -> None:
    """Refuses thresholds or exits that were made for another exit signal.

    Args:
        what: the field and the file, for the message.
        made_for: their signal (`ClassGroups.signal`).
        used: the signal of the model as it is used now.

    Raises:
        UsageError: the signals differ.
    """
    if made_for == used:
        return
    made, now = made_for.partition(" ")[0], used.partition(" ")[0]
    if made == now:
        raise UsageError(f"{what} was made for other groups than the model has now")
    raise UsageError(f"{what} was made with --sure-of {made}, not with --sure-of {now}")


def load_calibration_set(
    model: str, identity: CalibratedModel, signal: str = "label"
) -> RecordedExits:
    """Loads the exits that are kept with a model.

    Args:
        model: where it was loaded from.
        identity: of the model.
        signal: that the exits are needed for (`ClassGroups.signal`).

    Raises:
        UsageError: there are none, or they are of other weights or of other groups.
    """
    sure_of: SureOf = "label" if signal == "label" else "group"
    path = calibration_set_path(model, sure_of)
    to_run = f"dvt calibrate --model {model} --data IMAGES --keep"
    if sure_of == "group":
        to_run += " --sure-of group"
    if not path.exists():
        raise UsageError(f"model: {model} has no calibration set; run: {to_run}")
    recorded = RecordedExits.load(path)
    if recorded.model_digest != identity.digest or len(recorded.confidences) != len(
        identity.gmacs_per_exit
    ):
        raise UsageError(
            f"model: {path} belongs to other weights than {model}; run again: {to_run}"
        )
    check_signal(f"model: {path}", recorded.signal, signal)
    return recorded
