"""`dvt eval`: accuracy of every exit and accuracy against cost, beside the checkpoint's own."""

import csv
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

import dvt
from dvt.device import best_device, inference_dtype
from dvt.inference import make_executor
from dvt.loading.checkpoint import DEFAULT_MODEL
from jobs.evaluation.evaluation import Evaluation, evaluate_record
from jobs.evaluation.exit_record import record_exits
from jobs.evaluation.plot import write_curve
from jobs.evaluation.text import evaluation_lines
from jobs.options import Job, JobResult, job_command
from jobs.progress import shown_progress

__all__ = ["EvalJob", "command", "run_eval"]


class EvalJob(Job):
    """Evaluates a trained cascade on labelled pictures.

    --data is a folder of class folders, a folder with truth.parquet beside images/, tars in
    WebDataset's layout, Parquet files, or shapes:NUM:SEED; tars and Parquet files also as a folder,
    a glob, or a range {000..012}. Labels are class names, WordNet ids (ImageNet) or class ids.

    The curve is told four times: with the thresholds stored in the checkpoint; with thresholds
    fitted here by the reference's sweep, and jointly for the same costs (both on --fit-data, else
    on each half of the data and judged on the other); and as the checkpoint itself has it.
    """

    model: Annotated[
        str, Field(description="shipped name, checkpoint folder or published file")
    ] = DEFAULT_MODEL
    data: Annotated[str, Field(description="labelled pictures")]
    fit_data: Annotated[
        str | None, Field(description="other labelled pictures to fit thresholds on")
    ] = None
    batch_size: Annotated[int, Field(ge=1, le=4096, description="images per forward pass")] = 64
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(description="precision; auto: what `dvt tag` uses on this machine"),
    ] = "auto"
    curve: Annotated[
        Path | None, Field(description="draw accuracy against GMACs into this SVG file")
    ] = None
    csv: Annotated[Path | None, Field(description="write all points of the curves to it")] = None


def run_eval(job: EvalJob) -> JobResult:
    """Evaluates.

    Raises:
        UsageError: the data cannot be used, or have a class that the model lacks.
        ModelError: the model cannot be used.
    """
    model = dvt.load_model(job.model)
    device = best_device()
    dtype = inference_dtype(device) if job.dtype == "auto" else getattr(torch, job.dtype)
    executor = make_executor(model, device, dtype)
    with shown_progress() as listener:
        record = record_exits(executor, model.labels, job.data, job.batch_size, listener)
        fit_record = None
        if job.fit_data is not None:
            fit_record = record_exits(
                executor, model.labels, job.fit_data, job.batch_size, listener
            )
    evaluation = evaluate_record(model, record, fit_record)
    precision = str(dtype).removeprefix("torch.")
    lines = [f"{job.model} on {job.data}, {precision}", *evaluation_lines(evaluation)]
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
        "dtype": precision,
    }
    return JobResult(lines=tuple(lines), data=data | evaluation.as_json())


def _write_csv(path: Path, evaluation: Evaluation) -> None:
    """One row a point: which curve, position in the sweep from 1, GMACs, accuracy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("curve", "position", "gmacs", "accuracy"))
        for name, curve in evaluation.curves.items():
            rows.writerows((name, number, *point) for number, point in enumerate(curve, start=1))


command = job_command("eval", EvalJob, run_eval)
