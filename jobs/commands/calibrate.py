"""`dvt calibrate`: thresholds for a mean cost, a bounded loss, or given shares of the exits."""

from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator

import dvt
from dvt.calibration import RecordedExits, Risk
from dvt.inference import deterministic_matmul
from dvt.labels import SureOf
from dvt.loading import DEFAULT_MODEL, is_on_hub
from jobs.calibration.calibration_set import (
    calibrated_model,
    calibration_set_path,
    load_calibration_set,
)
from jobs.calibration.default_thresholds import set_default_thresholds, writable_model_folder
from jobs.calibration.fit import calibrate
from jobs.calibration.pictures import open_calibration_pictures
from jobs.calibration.text import calibration_lines
from jobs.calibration.thresholds_file import Asked
from jobs.datasets import Sampled
from jobs.evaluation.recorder import ExitRecorder
from jobs.options import Job, JobResult, job_command
from jobs.progress import shown_progress
from pipeline.errors import UsageError
from pipeline.units import Gmacs, Mix, Share

__all__ = ["CalibrateJob", "command", "run_calibrate"]


class CalibrateJob(Job):
    """Fits thresholds of a cascade to held-out images.

    One of --budget, --max-drop and --exit-mix sets the target. --max-drop comes with a proof: with
    probability 1 - delta, the loss on images like these is at most that. --out names a file for
    `dvt tag --thresholds`; --adopt makes the thresholds the default of the model.

    --data is labelled as for `dvt eval`, or any archive that `dvt tag` takes. Without labels, the
    loss is of agreement with full depth. Without --data, the calibration set is used that an
    earlier --keep has stored with the model.
    """

    model: Annotated[
        str, Field(description="shipped name, folder, file, or hf-hub:org/name[@revision]")
    ] = DEFAULT_MODEL
    data: Annotated[str | None, Field(description="images that the model was not trained on")] = (
        None
    )
    out: Annotated[Path | None, Field(description="JSON file for the thresholds")] = None
    budget: Annotated[Gmacs, Field(description="mean cost per image in MACs, e.g. 1.2G")] = None
    max_drop: Annotated[Share, Field(description="largest loss against full depth, e.g. 1%")] = None
    delta: Annotated[Share, Field(description="probability that --max-drop fails")] = 0.05
    exit_mix: Annotated[Mix, Field(description="shares of the exits, e.g. 60/25/15")] = None
    of: Annotated[
        Literal["auto", "accuracy", "agreement"],
        Field(description="what --max-drop bounds the loss of; auto: accuracy if labelled"),
    ] = "auto"
    sure_of: Annotated[
        SureOf, Field(description="what an answer is: a label, or its group of labels")
    ] = "label"
    keep: Annotated[
        bool,
        Field(description="store a calibration set with the model, for dvt tag --budget"),
    ] = False
    adopt: Annotated[bool, Field(description="make the thresholds the default of the model")] = (
        False
    )
    num_images: Annotated[
        int, Field(ge=2, description="largest number of images, drawn at random from the data")
    ] = 20_000
    batch_size: Annotated[int, Field(ge=1, le=4096, description="images per forward pass")] = 64
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Field(description="precision; auto: the one of dvt tag on this machine"),
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
            raise ValueError("adopt: needs one of --budget, --max-drop and --exit-mix")
        if self.adopt and self.sure_of == "group":
            raise ValueError("adopt: applies to sure_of label only (got group); use --out")
        if self.keep and self.data is None:
            raise ValueError("data: must be given with --keep")
        if self.delta is None:
            raise ValueError("delta: must be given")
        return self


def run_calibrate(job: CalibrateJob) -> JobResult:
    """Runs the calibration.

    Raises:
        UsageError: the data cannot be used, or a file cannot be written.
        ModelError: the model cannot be used, or the target is out of reach.
    """
    if job.keep and is_on_hub(job.model):
        raise UsageError(
            f"keep: cannot write into the hub's cache (got {job.model}); use a folder of your own"
        )
    folder = writable_model_folder(job.model) if job.adopt else None
    model = dvt.load_model(job.model)
    model.groups.part_ids(job.sure_of)  # raises if there are none
    identity = calibrated_model(model)
    if job.data is None:
        signal = model.groups.signal(job.sure_of)
        recorded = load_calibration_set(job.model, identity, signal)
    else:
        recorded = _recorded(job, job.data, model)
    lines: list[str] = []
    if job.keep:
        path = calibration_set_path(job.model, job.sure_of)
        try:
            recorded.save(path)
        except OSError as error:
            raise UsageError(f"keep: cannot write {path}: {error.strerror}") from error
        lines.append(f"calibration set of {recorded.num_images:,} images: {path}")
    if job.out is None and folder is None:
        return JobResult(lines=tuple(lines), data={"num_images": recorded.num_images})
    asked = Asked(
        budget_gmacs=job.budget,
        max_drop=job.max_drop,
        delta=None if job.max_drop is None else job.delta,
        exit_mix=job.exit_mix,
    )
    of: Risk = recorded.risk if job.of == "auto" else job.of
    file = calibrate(recorded, identity, asked, of)
    lines += calibration_lines(file)
    data = file.model_dump(mode="json")
    if job.out is not None:
        file.write(job.out)
        lines.append(f"thresholds: {job.out} (dvt tag --thresholds {job.out})")
        data["out"] = str(job.out)
    if folder is not None:
        set_default_thresholds(folder, file)
        data["adopted"] = str(folder)
        lines.append(f"default thresholds of {folder} (dvt tag --model {job.model})")
    return JobResult(lines=tuple(lines), data=data)


def _recorded(job: CalibrateJob, data: str, model: dvt.Model) -> RecordedExits:
    """The model's exits on the data, computed as `dvt tag` computes them."""
    deterministic_matmul()
    source, ids = open_calibration_pictures(data, model, job.of)
    dtype = None if job.dtype == "auto" else getattr(torch, job.dtype)
    recorder = ExitRecorder(model, dtype, job.batch_size, job.sure_of)
    with shown_progress() as listener:
        return recorder.record(Sampled(source, job.num_images), ids, data, listener)


command = job_command("calibrate", CalibrateJob, run_calibrate)
