"""Thresholds that become a model's own, and what its own are known to promise.

A model's own thresholds are what `dvt tag` uses where nothing is said about them. They stand in
`calibration.json` of its folder; what else stands there is of the model and stays.
"""

from pathlib import Path

from dvt.cascade import ThresholdProvenance
from dvt.loading.checkpoint import checkpoint_folder, load_calibration, save_calibration
from jobs.calibration.text import certified_text
from jobs.calibration.thresholds_file import ThresholdsFile
from pipeline.errors import UsageError

__all__ = ["own_promise", "set_default_thresholds", "writable_model_folder"]


def writable_model_folder(model: str) -> Path:
    """The folder of a model that can have thresholds of its own.

    Raises:
        UsageError: it is a published file, which nothing can be added to, or the name of a shipped
            model, which is everybody's on this installation.
    """
    folder = checkpoint_folder(model)
    if folder is None or not Path(model).exists():
        raise UsageError(
            f"adopt: needs a checkpoint folder of your own (got {model}); "
            "use --out, and dvt tag --thresholds"
        )
    return folder


def set_default_thresholds(folder: Path, file: ThresholdsFile) -> None:
    """Makes thresholds a model's own.

    Args:
        folder: of the model.
        file: what was found for it.

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


def own_promise(model: str) -> tuple[ThresholdProvenance, str] | None:
    """What is proved of a model's own thresholds, and that in one line; None if nothing is.

    Raises:
        CheckpointError: its `calibration.json` is damaged.
    """
    folder = checkpoint_folder(model)
    chosen = None if folder is None else load_calibration(folder).provenance
    if chosen is None or not chosen.certified:
        return None
    if chosen.max_drop is None or chosen.delta is None:
        return None
    text = certified_text(chosen.risk, chosen.max_drop, chosen.delta, chosen.data)
    return chosen, f"the model's own thresholds, {text}"
