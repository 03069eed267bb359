"""`dvt cascade`: makes a cascade of any models."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

import dvt
from dvt.inference import deterministic_matmul
from dvt.loading import load_calibration, save_calibration
from jobs.calibration.pictures import open_calibration_pictures
from jobs.cascades.choice import Candidate, choose
from jobs.cascades.facts import CascadeFacts
from jobs.cascades.folder import new_folder, write_cascade
from jobs.cascades.recording import Member, compose, input_effects, record_members
from jobs.commands.calibrate import CalibrateJob, run_calibrate
from jobs.datasets import Sampled
from jobs.options import Job, JobResult, job_command
from jobs.progress import shown_progress
from pipeline.options import Texts
from pipeline.units import Share

__all__ = ["CascadeJob", "command", "run_cascade"]


class CascadeJob(Job):
    """Makes a cascade of models: DVT and ViT checkpoints, ONNX files, torch.export programs.

    MEMBER is whatever --model takes, given from the cheapest to the best; the last one's answers
    are the full depth. Classes are aligned by name. All members run on --data, labelled as for
    `dvt eval` or any archive that `dvt tag` takes. Members that make the cascade no faster on this
    machine are left out.

    OUT becomes a model for --model: copies of the members, one temperature an exit, thresholds
    proven to lose at most --max-drop, and the calibration set for `dvt tag --budget`.
    """

    member: Annotated[Texts, Field(min_length=1, description="models, from the cheapest to best")]
    out: Annotated[Path, Field(description="new folder for the cascade")]
    data: Annotated[str, Field(description="pictures that no member was trained on")]
    max_drop: Annotated[
        Share, Field(description="largest loss against full depth, proven on half of the images")
    ] = 0.01
    keep_all: Annotated[
        bool, Field(description="keep members that make the cascade no faster here")
    ] = False
    num_images: Annotated[
        int, Field(ge=2, description="largest number of images, drawn at random from the data")
    ] = 2000
    batch_size: Annotated[int, Field(ge=1, le=4096, description="images per forward pass")] = 64


def run_cascade(job: CascadeJob) -> JobResult:
    """Makes the cascade.

    Raises:
        UsageError: the data cannot be used, or OUT exists, is in a member's folder or cannot be
            written.
        ModelError: a member cannot be used, or the classes differ.
    """
    assert job.max_drop is not None
    deterministic_matmul()
    members = [Member(source, dvt.load_model(source)) for source in job.member]
    with new_folder(job.out, members) as folder:
        opened, ids = open_calibration_pictures(job.data, members[-1].model)
        pictures = Sampled(opened, job.num_images)
        with shown_progress() as listener:
            recorded = record_members(members, pictures, ids, job.data, job.batch_size, listener)
        # The second half proves the thresholds, so nothing may be fitted to it.
        fitted_on = recorded.first_half()
        choice = choose(fitted_on, job.max_drop, job.keep_all)
        kept = [members[number] for number in choice.chosen.members]
        cascade = compose(kept, job.out.name, choice.chosen.exits)
        effects = input_effects(members, pictures, recorded, job.batch_size)
        write_cascade(folder, cascade.config, kept, cascade.label_names)
        calibration = _calibrate(job, folder, choice.chosen)
    facts = CascadeFacts.of_choice(members, fitted_on, choice, effects)
    lines = (
        *facts.lines(),
        *calibration,
        f"cascade: {job.out} (dvt tag INPUT --out OUT --model {job.out})",
    )
    return JobResult(lines=lines, data=facts.data() | {"out": str(job.out)})


def _calibrate(job: CascadeJob, folder: Path, chosen: Candidate) -> tuple[str, ...]:
    """Proves thresholds and keeps the calibration set; returns what can be promised."""
    if len(chosen.exits) == 1:
        return ("no other member makes it faster here: the cascade is the last member alone",)
    settings = CalibrateJob(
        model=str(folder),
        data=job.data,
        max_drop=job.max_drop,
        keep=True,
        adopt=True,
        num_images=job.num_images,
        batch_size=job.batch_size,
    )
    try:
        result = run_calibrate(settings)
    except dvt.ModelError as error:
        changes = {"thresholds": chosen.thresholds, "data": job.data}
        save_calibration(folder, load_calibration(folder).model_copy(update=changes))
        return (f"thresholds are fitted, not proven: {error}",)
    return tuple(line for line in result.lines if str(folder) not in line)


command = job_command("cascade", CascadeJob, run_cascade, arguments=("member",))
