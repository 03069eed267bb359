"""`dvt train` with a recipe of distillation: members, kills, and what it refuses."""

import json
import signal
import subprocess
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

import dvt
from jobs.commands.train import TrainJob, run_train
from jobs.training.recipe import read_recipe
from pipeline.errors import UsageError
from tests.command_line import DVT
from tests.photographs import photograph

LITE0 = "efficientnet_lite0"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    distillation = {
        "students": [{"network": LITE0, "image_size": 32}],
        "teachers": [{"network": LITE0, "image_size": 64}],
        "picture_size": 72,
        "epochs": 2,
        "batch_size": 4,
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"validation_images": 4, "distillation": distillation}))
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "trip").mkdir(parents=True)
    for seed in range(20):
        photograph(90 + seed, 80, seed).save(folder / "trip" / f"{seed}.jpg")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xffno picture")
    return folder


def test_killed_and_interrupted_trainings_end_with_the_same_members(
    recipe: Path, pictures: Path, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    result = run_train(TrainJob(recipe=str(recipe), data=str(pictures), out=whole, threads=1))
    command = [str(DVT), "train", "--recipe", str(recipe)]
    command += ["--data", str(pictures), "--out", str(out)]
    command += ["--threads", "1", "--save-every-s", "0.001"]
    for sent, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130)):
        state = out / "training" / "state.pt"
        before = state.stat().st_mtime_ns if state.exists() else None
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 240
            while time.monotonic() < deadline:
                if state.exists() and state.stat().st_mtime_ns != before:
                    break
                time.sleep(0.002)
            process.send_signal(sent)
            _, errors = process.communicate(timeout=120)
        assert process.returncode == code, errors
        assert not (out / "members").exists(), "an unfinished training has no members"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "resuming after step" in done.stderr
    for name in ("lite0-32/adapter.safetensors", "lite0-32/config.json", "lite0-64/config.json"):
        assert (out / "members" / name).read_bytes() == (whole / "members" / name).read_bytes()
    members = [str(whole / "members" / name) for name in ("lite0-32", "lite0-64")]
    assert result.data["members"] == members
    assert f"next: dvt cascade {' '.join(members)} --data PICTURES --out DIR" in result.lines
    sizes = [dvt.load_model(member).spec.image_size for member in members]
    assert sizes == [32, 64]
    held_out = pq.read_table(whole / "training" / "validation.parquet")
    assert held_out.column_names == ["key", "image"]
    assert held_out.num_rows == 4
    lines = (whole / "training" / "curve.jsonl").read_text().splitlines()
    assert [len(json.loads(line)["accuracy_per_exit"]) for line in lines] == [1, 1]


def test_the_shipped_recipe_is_one_of_distillation() -> None:
    recipe = read_recipe("photos").with_epochs(7)
    assert recipe.distillation is not None
    assert recipe.distillation.epochs == 7
    students = [(s.network, s.image_size) for s in recipe.distillation.students]
    assert (LITE0, 160) in students


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "data: must be given"),
        ({"data": "x", "workers": 2}, "workers: must be 1"),
        ({"data": "x", "static": 1}, "static: cannot be used"),
        ({"data": "x", "from_": "cifar10"}, "from: cannot be used"),
        ({"data": "/no/such/archive"}, "data: "),
    ],
)
def test_what_does_not_apply_is_refused(
    recipe: Path, tmp_path: Path, fields: dict[str, object], problem: str
) -> None:
    with pytest.raises(UsageError, match=f"^{problem}"):
        run_train(TrainJob(recipe=str(recipe), out=tmp_path / "out", **fields))  # type: ignore[arg-type]
