"""`dvt calibrate`: thresholds for a mean cost, a bounded loss, or given shares of the exits."""

from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator

import dvt
from dvt.calibration import HeldOut, Risk
from dvt.device import best_device, inference_dtype
from dvt.inference import deterministic_matmul, make_executor
from dvt.loading.checkpoint import DEFAULT_MODEL
from jobs.calibration.default_thresholds import set_default_thresholds, writable_model_folder
from jobs.calibration.fit import calibrate
from jobs.calibration.recorded_exits import calibrated_model, held_out_path, load_calibration_set
from jobs.calibration.text import calibration_lines
from jobs.calibration.thresholds_file import Asked
from jobs.datasets import (
    ClassIds,
    LabelledSource,
    Sampled,
    check_labels,
    open_labelled,
    open_pictures,
)
from jobs.evaluation.exit_record import record_held_out
from jobs.options import Job, JobResult, job_command
from jobs.progress import shown_progress
from pipeline.errors import UsageError
from pipeline.runtime.resource_plan import decode_settings
from pipeline.units import Gmacs, Mix, Share

__all__ = ["CalibrateJob", "command", "run_calibrate"]


class CalibrateJob(Job):
    """Chooses thresholds of a cascade by held-out pictures.

    One of --budget, --max-drop and --exit-mix says what for. --max-drop comes with a proof: with
    probability 1 - delta the loss on pictures like these is at most that. --out gets a file for
    `dvt tag --thresholds`; with --adopt the thresholds become the model's own instead, or as well.

    --data is labelled as for `dvt eval`, or any archive that `dvt tag` takes: then the loss is of
    agreement with full depth, which needs no labels. Without --data the exits are used that an
    earlier call kept with the model (--keep).
    """

    model: Annotated[
        str, Field(description="shipped name, checkpoint folder or published file")
    ] = DEFAULT_MODEL
    data: Annotated[str | None, Field(description="pictures that the model was not trained on")] = (
        None
    )
    out: Annotated[Path | None, Field(description="JSON file to write")] = None
    budget: Annotated[Gmacs, Field(description="mean MACs of an image, such as 1.2G")] = None
    max_drop: Annotated[Share, Field(description="largest loss against full depth, such as 1%")] = (
        None
    )
    delta: Annotated[Share, Field(description="probability that --max-drop may fail")] = 0.05
    exit_mix: Annotated[Mix, Field(description="shares of the exits, such as 60/25/15")] = None
    of: Annotated[
        Literal["auto", "accuracy", "agreement"],
        Field(description="what must not be lost; auto: accuracy where the data have labels"),
    ] = "auto"
    keep: Annotated[
        bool, Field(description="keep the exits with the model, for dvt tag --budget/--max-drop")
    ] = False
    adopt: Annotated[
        bool, Field(description="make the thresholds the model's own: the default of dvt tag")
    ] = False
    num_images: Annotated[
        int, Field(ge=2, description="pictures at most, drawn at random from the data")
    ] = 20_000
    batch_size: Annotated[int, Field(ge=1, le=4096, description="images per forward pass")] = 64
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(description="precision; auto: what `dvt tag` uses on this machine"),
    ] = "auto"

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        targets = [self.budget, self.max_drop, self.exit_mix]
        given = sum(target is not None for target in targets)
        if given > 1 or (given == 0 and not self.keep):
            raise ValueError(
                "budget, max_drop, exit_mix: exactly one must be given, or --keep alone"
            )
        if given and self.out is None and not self.adopt:
            raise ValueError("out: must be given, or --adopt")
        if self.adopt and not given:
            raise ValueError("adopt: needs one of budget, max_drop and exit_mix")
        if self.keep and self.data is None:
            raise ValueError("data: must be given with --keep")
        if self.delta is None:
            raise ValueError("delta: must be given")
        return self


def run_calibrate(job: CalibrateJob) -> JobResult:
    """Calibrates.

    Raises:
        UsageError: the data cannot be used, or do not allow what was asked.
        ModelError: the model cannot be used, or does not allow it.
    """
    folder = writable_model_folder(job.model) if job.adopt else None
    model = dvt.load_model(job.model)
    identity = calibrated_model(model)
    if job.data is None:
        held_out = load_calibration_set(job.model, identity)
    else:
        held_out = _recorded(job, job.data, model, identity.digest)
    lines: list[str] = []
    if job.keep:
        path = held_out_path(job.model)
        try:
            held_out.save(path)
        except OSError as error:
            raise UsageError(f"keep: cannot write {path}: {error.strerror}") from error
        lines.append(f"exits of {held_out.num_images:,} pictures kept: {path}")
    if job.out is None and folder is None:
        return JobResult(lines=tuple(lines), data={"num_images": held_out.num_images})
    asked = Asked(
        budget_gmacs=job.budget,
        max_drop=job.max_drop,
        delta=None if job.max_drop is None else job.delta,
        exit_mix=job.exit_mix,
    )
    of: Risk = held_out.risk if job.of == "auto" else job.of
    file = calibrate(held_out, identity, asked, of)
    lines += calibration_lines(file)
    data = file.model_dump(mode="json")
    if job.out is not None:
        file.write(job.out)
        lines.append(f"written: {job.out} (dvt tag --thresholds {job.out})")
        data["out"] = str(job.out)
    if folder is not None:
        set_default_thresholds(folder, file)
        data["adopted"] = str(folder)
        lines.append(f"the model's own from now on: {folder} (dvt tag --model {job.model})")
    return JobResult(lines=tuple(lines), data=data)


def _recorded(job: CalibrateJob, data: str, model: dvt.Cascade, digest: str) -> HeldOut:
    """What the exits say about the pictures, computed as `dvt tag` computes it."""
    deterministic_matmul()
    device = best_device()
    dtype = inference_dtype(device) if job.dtype == "auto" else getattr(torch, job.dtype)
    executor = make_executor(model, device, dtype)
    source, ids = _opened(job, data, model)
    with shown_progress() as listener:
        return record_held_out(
            executor,
            digest,
            Sampled(source, job.num_images),
            ids,
            data,
            job.batch_size,
            listener,
        )


def _opened(
    job: CalibrateJob, data: str, model: dvt.Cascade
) -> tuple[LabelledSource, ClassIds | None]:
    """The pictures, and how their labels are read; None for pictures without."""
    max_bytes = decode_settings(model.config).max_bytes
    if job.of == "agreement":
        return open_pictures(data, max_bytes), None
    ids = ClassIds.of_model(model.config.num_classes, model.labels)
    if "://" not in data:
        labelled = open_labelled(data, max_bytes)
        if job.of == "accuracy" or _has_known_label(labelled, ids):
            check_labels(labelled, ids)
            return labelled, ids
    elif job.of == "accuracy":
        raise UsageError(f"of: must be agreement for pictures without labels (got {data})")
    return open_pictures(data, max_bytes), None


def _has_known_label(source: LabelledSource, ids: ClassIds) -> bool:
    """Whether a label names a class of the model; where only reading all tells, it is assumed."""
    labels = source.labels()
    if labels is None:
        return True
    for label in labels:
        try:
            ids.id_of(label)
        except UsageError:
            continue
        return True
    return False


command = job_command("calibrate", CalibrateJob, run_calibrate)
