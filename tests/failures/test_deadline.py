"""A real run with a slowed model: every stage sleeps in proportion to its images and its MACs.

625 images at 0.15 s are 94 s of sleep at full depth, and about 13 s under the cheapest thresholds
that a loss of 1 % allows. The run has 75 s from the start of its actors.
"""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import dvt
from dvt.calibration import ThresholdSet
from dvt.inference import StageExecutor
from jobs.calibration.thresholds import ThresholdOptions, choose_thresholds
from jobs.shapes import write_shapes
from pipeline.deadline.controller import DeadlineController
from pipeline.deadline.log import ThresholdLog
from pipeline.deadline.policy import DeadlineSettings
from pipeline.output.layout import Output
from pipeline.runtime.actors.cascade import CascadeActor
from pipeline.runtime.resource_plan import Plan
from pipeline.settings import TagSettings
from tests.command_line import SHAPES, rows
from tests.command_line import dvt as dvt_command
from tests.failures.faulty import run_with

NUM_IMAGES = 625
SECONDS_PER_IMAGE = 0.15
DEADLINE_S = 75.0
BATCH = 8


class Sleeps(CascadeActor):
    """As slow as if an image took `SECONDS_PER_IMAGE` at full depth."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments, executor=_sleeping_executor)


def _sleeping_executor(model: dvt.Model, device: torch.device, dtype: torch.dtype) -> StageExecutor:
    assert isinstance(model, dvt.Cascade)
    costs = model.spec.gmacs_per_exit
    for stage, before, after in zip(model.stages, (0.0, *costs), costs, strict=False):
        seconds = SECONDS_PER_IMAGE * (after - before) / costs[-1]
        stage.register_forward_pre_hook(partial(_sleep, seconds))
    return model.make_executor(device, dtype)


def _sleep(seconds: float, stage: object, inputs: tuple[Tensor, ...]) -> None:
    time.sleep(seconds * len(inputs[0]))


def allowed_thresholds() -> tuple[ThresholdSet, ...]:
    options = ThresholdOptions.model_validate({"deadline": "1m15s", "max_drop": "1%"})
    choice = choose_thresholds(options, "shapes", dvt.load_model("shapes"))
    assert choice.deadline is not None
    return choice.deadline.threshold_sets


@pytest.mark.night
def test_a_slowed_model_ends_within_five_percent_of_the_deadline(tmp_path: Path) -> None:
    archive = write_shapes(tmp_path / "a", NUM_IMAGES, seed=21, size=(64, 64))
    threshold_sets = allowed_thresholds()
    loosest = threshold_sets[-1].thresholds
    settings = TagSettings(
        input=(str(archive.images),),
        out=str(tmp_path / "out"),
        model="shapes",
        batch_size=BATCH,
        decoders=1,
    )

    def make_deadline(output: Output, plan: Plan) -> DeadlineController:
        return DeadlineController(
            DeadlineSettings(DEADLINE_S, threshold_sets),
            dvt.load_model("shapes").spec.gmacs_per_exit,
            [(1, 3)],
            BATCH,
            time.monotonic(),
            ThresholdLog(output.store, "test", lambda: None),
        )

    deadline = run_with(Sleeps, settings, thresholds=loosest, make_deadline=make_deadline)
    assert deadline is not None
    deadline.save()
    outcome = deadline.outcome()
    used = json.loads((tmp_path / "out" / "thresholds_used.json").read_text())
    print(f"{outcome.ended_s:.1f} s, first call after {used[0]['seconds']:.1f} s")
    assert 0.95 * DEADLINE_S <= outcome.ended_s <= 1.05 * DEADLINE_S
    assert outcome.moves == len(used) - 1 > 0
    for entry in used:
        assert tuple(entry["thresholds"]) == threshold_sets[entry["threshold_set"]].thresholds
    tags = rows(tmp_path / "out" / "tags", "SELECT exit_stage, confidence FROM t")
    assert len(tags) == NUM_IMAGES
    early = [row for row in tags if row["exit_stage"] < 3]
    assert early
    assert all(row["confidence"] >= loosest[row["exit_stage"] - 1] - 1e-6 for row in early)


@pytest.mark.usefixtures("ray_session")
def test_a_run_far_from_its_deadline_stays_at_full_depth(tmp_path: Path) -> None:
    archive = write_shapes(tmp_path / "a", 40, seed=21, size=(64, 64))
    out = tmp_path / "out"
    command = ("tag", *SHAPES, archive.images, "--out", out, "--deadline", "1h", "--max-drop", "1%")
    done = dvt_command(*command, "--json")
    assert done.code == 0, done.err
    assert done.json["deadline"]["deadline_s"] == 3600
    assert done.json["deadline"]["moves"] == 0
    (used,) = json.loads((out / "thresholds_used.json").read_text())
    assert used["threshold_set"] == 0
    loosest = allowed_thresholds()[-1].thresholds
    assert tuple(json.loads((out / "run.json").read_text())["thresholds"]) == loosest
    assert {row["exit_stage"] for row in rows(out / "tags", "SELECT exit_stage FROM t")} == {3}
