"""Makes thresholds the default of a model, which `dvt tag` uses where no others are asked for.

They are kept in `calibration.json` of the model's folder; its other entries stay as they are.
"""

from pathlib import Path

from dvt.loading import checkpoint_folder, load_calibration, save_calibration, shipped_models
from dvt.model import ThresholdProvenance
from jobs.calibration.thresholds_file import ThresholdsFile
from pipeline.errors import UsageError

__all__ = ["set_default_thresholds", "writable_model_folder"]


def writable_model_folder(model: str) -> Path:
    """The folder of a model whose default thresholds may be changed.

    Raises:
        UsageError: it is a published file, which has no room for thresholds, or the name of a
            shipped model, which all users of this installation share.
    """
    folder = checkpoint_folder(model)
    if folder is None or folder in shipped_models().values():
        raise UsageError(
            f"adopt: needs a checkpoint folder of your own (got {model}); "
            "use --out, and dvt tag --thresholds"
        )
    return folder


def set_default_thresholds(folder: Path, file: ThresholdsFile) -> None:
    """Makes thresholds the default of a model.

    Args:
        folder: of the model.
        file: thresholds that were fitted for it.

    Raises:
        UsageError: the folder cannot be written to.
    """
    asked, certificate = file.asked, file.certificate
    provenance = ThresholdProvenance(
        risk=file.of,
        data=file.data,
        dtype=file.dtype,
        gmacs=(file.held_out or file.fitted).gmacs,
        budget_gmacs=asked.budget_gmacs,
        max_drop=asked.max_drop,
        exit_mix=asked.exit_mix,
        delta=asked.delta,
        p_value=None if certificate is None else certificate.p_value,
        certified=certificate is not None and certificate.num_accepted > 0,
    )
    calibration = load_calibration(folder)
    try:
        changes = {"thresholds": file.thresholds, "provenance": provenance}
        save_calibration(folder, calibration.model_copy(update=changes))
    except OSError as error:
        raise UsageError(f"adopt: cannot write to {folder}: {error.strerror}") from error
