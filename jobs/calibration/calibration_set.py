"""The calibration set of a model: exits on held-out images, kept with the model."""

from pathlib import Path

import dvt
from dvt.calibration import HELD_OUT, RecordedExits
from dvt.loading import shipped_models
from jobs.calibration.thresholds_file import CalibratedModel
from pipeline.errors import UsageError

__all__ = ["calibrated_model", "calibration_set_path", "load_calibration_set"]


def calibration_set_path(model: str) -> Path:
    """File of a model's calibration set: in its folder, or beside its file."""
    path = Path(model)
    if path.is_dir():
        return path / HELD_OUT
    if path.is_file():
        named = path.name == "model.safetensors"
        return path.with_name(HELD_OUT if named else f"{path.name}.{HELD_OUT}")
    return shipped_models()[model] / HELD_OUT


def calibrated_model(model: dvt.Model) -> CalibratedModel:
    """Identity and costs of a loaded model."""
    return CalibratedModel(
        name=model.spec.name,
        digest=model.digest(),
        gmacs_per_exit=model.spec.gmacs_per_exit,
    )


def load_calibration_set(model: str, identity: CalibratedModel) -> RecordedExits:
    """Loads the exits that are kept with a model.

    Raises:
        UsageError: there are none, or they are of other weights.
    """
    path = calibration_set_path(model)
    to_run = f"dvt calibrate --model {model} --data IMAGES --keep"
    if not path.exists():
        raise UsageError(f"model: {model} has no calibration set; run: {to_run}")
    recorded = RecordedExits.load(path)
    if recorded.model_digest != identity.digest or len(recorded.confidences) != len(
        identity.gmacs_per_exit
    ):
        raise UsageError(
            f"model: {path} belongs to other weights than {model}; run again: {to_run}"
        )
    return recorded
