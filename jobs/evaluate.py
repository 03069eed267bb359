"""`dvt eval`: accuracy of every exit, and the accuracy/cost curve of the threshold sweep."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

import dvt
from dvt.calibration import OperatingPoint, evaluate_thresholds
from dvt.device import best_device
from dvt.training import evaluate_exits
from jobs.curve import write_curve
from jobs.labelled import load_labelled
from jobs.options import Job, JobResult, job_command
from pipeline.errors import UsageError
from pipeline.placement import decode_settings

__all__ = ["EvalJob", "command", "run_eval"]


class EvalJob(Job):
    """Evaluates a trained cascade on labelled pictures.

    --data is a folder with truth.parquet beside images/, a folder of class folders, or
    shapes:NUM:SEED. The thresholds are those stored in the checkpoint; none are fitted here.
    """

    model: Annotated[str, Field(description="shipped name, checkpoint folder or .pth.tar")] = (
        "shapes"
    )
    data: Annotated[str, Field(description="labelled pictures")]
    curve: Annotated[
        Path | None, Field(description="draw accuracy against GMACs into this SVG file")
    ] = None


def run_eval(job: EvalJob) -> JobResult:
    """Evaluates.

    Raises:
        UsageError: the model has no class names, or the data cannot be used.
    """
    model = dvt.load_model(job.model)
    if model.labels is None:
        raise UsageError(f"model: {job.model} has no class names to compare with")
    pictures = load_labelled(job.data, decode_settings(model.config), model.labels)
    scores_EnC = evaluate_exits(model.to(best_device()), pictures.pixels)
    confidences_En = scores_EnC.max(axis=-1)
    correct_En = scores_EnC.argmax(axis=-1) == pictures.labels
    accuracies = [float(value) for value in correct_En.mean(axis=1)]
    cost = dvt.gmacs_per_exit(model.config)

    def point(thresholds: tuple[float, ...]) -> OperatingPoint:
        return evaluate_thresholds(confidences_En, correct_En, thresholds, cost)

    sweep = [point(thresholds) for thresholds in model.calibration.threshold_sweep]
    chosen = None
    if model.calibration.thresholds is not None:
        chosen = point(model.calibration.thresholds)
    data: dict[str, Any] = {
        "model": job.model,
        "data": job.data,
        "images": len(pictures.labels),
        "unreadable": pictures.num_unreadable,
        "accuracy_per_exit": accuracies,
        "gmacs_per_exit": cost,
        "default": None if chosen is None else _as_json(chosen),
        "curve": [_as_json(entry) for entry in sweep],
    }
    lines = [f"{len(pictures.labels):,} pictures of {job.data}"]
    lines += [
        f"exit {number}: {100 * accuracy:.2f} % at {1000 * gmacs:.4g} MMACs"
        for number, (accuracy, gmacs) in enumerate(zip(accuracies, cost, strict=True), start=1)
    ]
    if chosen is not None:
        shares = " / ".join(f"{count:,}" for count in chosen.exits)
        lines.append(
            f"with its thresholds: {100 * chosen.accuracy:.2f} % at {1000 * chosen.gmacs:.4g} "
            f"MMACs, images per exit {shares}"
        )
    if job.curve is not None:
        write_curve(job.curve, job.model, sweep, chosen, list(zip(cost, accuracies, strict=True)))
        lines.append(f"curve: {job.curve}")
    return JobResult(lines=tuple(lines), data=data)


def _as_json(point: OperatingPoint) -> dict[str, Any]:
    return {
        "thresholds": point.thresholds,
        "accuracy": point.accuracy,
        "gmacs": point.gmacs,
        "exits": point.exits,
    }


command = job_command("eval", EvalJob, run_eval)
