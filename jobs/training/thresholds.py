"""Default thresholds of a newly trained model, from its validation images.

Shapes: E exits, n images.
"""

from pathlib import Path

from dvt.calibration import HELD_OUT, SWEEP_POSITIONS, evaluate_thresholds, sweep_thresholds
from dvt.cascade import Cascade
from dvt.inference import deterministic_matmul
from dvt.loading import load_model
from dvt.model import Calibration
from jobs.datasets import LabelledPictures
from jobs.evaluation.recorder import ExitRecorder, evaluate_images

__all__ = ["calibrate_by_sweep", "record_validation_exits"]


def calibrate_by_sweep(model: Cascade, images: LabelledPictures, drop: float) -> Calibration:
    """The cheapest thresholds of the reference's sweep that lose at most `drop` accuracy.

    Args:
        model: trained.
        images: held out.
        drop: accepted loss of accuracy against the last exit, as a fraction.
    """
    executor = model.make_executor()
    confidences_En, correct_En = evaluate_images(executor, images.pixels, images.labels)
    accuracies = tuple(float(value) for value in correct_En.mean(axis=1))
    cost = model.spec.gmacs_per_exit
    points = [
        evaluate_thresholds(confidences_En, correct_En, sweep_thresholds(confidences_En, p), cost)
        for p in SWEEP_POSITIONS
    ]
    accepted = [point for point in points if point.accuracy >= accuracies[-1] - drop]
    chosen = min(accepted or points[-1:], key=lambda point: point.gmacs)
    return Calibration(
        thresholds=chosen.thresholds,
        accuracy_per_exit=accuracies,
        curve=tuple((point.gmacs, point.accuracy) for point in points),
        threshold_sweep=tuple(point.thresholds for point in points),
        data=f"{len(images.labels)} validation images",
    )


def record_validation_exits(folder: Path, images: LabelledPictures) -> None:
    """Saves the exits of held-out images in a checkpoint folder, for `dvt tag --budget`.

    Args:
        folder: of the trained model. A static model has nothing to choose and gets no file.
        images: held out.
    """
    model = load_model(folder)
    if model.spec.num_stages == 1:
        (folder / HELD_OUT).unlink(missing_ok=True)
        return
    deterministic_matmul()  # as in `dvt tag`
    name = "the validation images of its training"
    ExitRecorder(model).record_images(images, name).save(folder / HELD_OUT)
