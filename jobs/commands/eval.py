"""`dvt eval`: accuracy of each exit, and accuracy against cost."""

import csv
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

import dvt
from dvt.labels import SureOf
from dvt.loading import DEFAULT_MODEL
from dvt.members.cascade import MemberCascade
from jobs.evaluation.evaluation import Evaluation, evaluate
from jobs.evaluation.plot import write_curve
from jobs.evaluation.recorder import ExitRecorder
from jobs.evaluation.single_models import compare_with_members
from jobs.evaluation.text import evaluation_lines
from jobs.options import Job, JobResult, job_command
from jobs.progress import shown_progress

__all__ = ["EvalJob", "command", "run_eval"]


class EvalJob(Job):
    """Evaluates a trained cascade on labelled images.

    --data is a folder of class folders, a folder with truth.parquet beside images/, tars in
    WebDataset's layout, Parquet files, or shapes:NUM:SEED; tars and Parquet files also as a folder,
    a glob, or a range {000..012}, and on S3. Labels are class names, WordNet ids (ImageNet) or
    class ids.

    Reports the accuracy of each exit and two curves of accuracy against cost: with the thresholds
    stored in the checkpoint, and with thresholds fitted by the reference's sweep. These are fitted
    to --fit-data, else to each half of the data and evaluated on the other half. The accuracies
    that the checkpoint itself reports stand beside. A cascade of members (`dvt cascade`) is also
    compared with each member alone: accuracy, cost and images per second, timed in turns.
    """

    model: Annotated[
        str, Field(description="shipped name, folder, file, or hf-hub:org/name[@revision]")
    ] = DEFAULT_MODEL
    data: Annotated[str, Field(description="labelled images")]
    fit_data: Annotated[
        str | None, Field(description="other labelled images to fit thresholds to")
    ] = None
    sure_of: Annotated[
        SureOf,
        Field(description="what an answer is: a label, or its group of labels"),
    ] = "label"
    batch_size: Annotated[int, Field(ge=1, le=4096, description="images per forward pass")] = 64
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(description="precision; auto: the one of dvt tag on this machine"),
    ] = "auto"
    curve: Annotated[
        Path | None, Field(description="SVG file for a chart of accuracy against GMACs")
    ] = None
    csv: Annotated[Path | None, Field(description="CSV file for all points of the curves")] = None


def run_eval(job: EvalJob) -> JobResult:
    """Runs the evaluation.

    Raises:
        UsageError: the data cannot be used, or have a class that the model lacks.
        ModelError: the model cannot be used.
    """
    model = dvt.load_model(job.model)
    dtype = None if job.dtype == "auto" else getattr(torch, job.dtype)
    recorder = ExitRecorder(model, dtype, job.batch_size, job.sure_of)
    with shown_progress() as listener:
        recorded = recorder.record_labelled(job.data, listener)
        fit_on = None
        if job.fit_data is not None:
            fit_on = recorder.record_labelled(job.fit_data, listener)
        members = None
        has_own = job.sure_of == "label" and model.calibration.thresholds is not None
        if isinstance(model, MemberCascade) and has_own:
            members = compare_with_members(model, job.data, job.batch_size, listener)
    evaluation = evaluate(model, recorded, fit_on)
    sure_of = ", groups" if job.sure_of == "group" else ""
    lines = [f"{job.model} on {job.data}, {recorded.dtype}{sure_of}", *evaluation_lines(evaluation)]
    if members is not None:
        lines += members.lines()
    if job.csv is not None:
        _write_csv(job.csv, evaluation)
        lines.append(f"points: {job.csv}")
    if job.curve is not None:
        write_curve(job.curve, job.model, evaluation)
        lines.append(f"curve: {job.curve}")
    data: dict[str, Any] = {
        "model": job.model,
        "data": job.data,
        "fit_data": job.fit_data,
        "dtype": recorded.dtype,
        "members": None if members is None else members.as_json(),
        "sure_of": job.sure_of,
    }
    return JobResult(lines=tuple(lines), data=data | evaluation.as_json())


def _write_csv(path: Path, evaluation: Evaluation) -> None:
    """Writes one row per point: curve, position in the sweep from 1, GMACs, accuracy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("curve", "position", "gmacs", "accuracy"))
        for name, curve in evaluation.curves.items():
            rows.writerows((name, number, *point) for number, point in enumerate(curve, start=1))


command = job_command("eval", EvalJob, run_eval)
