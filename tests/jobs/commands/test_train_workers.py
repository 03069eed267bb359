"""`dvt train --workers`: the same training in several processes, even if one dies."""

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from pipeline.errors import UsageError
from tests.command_line import DVT
from tests.processes import pids_of
from tests.tiny_training import Setting, curve, setting

__all__ = ["setting"]


# Muon would amplify the rounding differences of sums over two processes.
GENTLE = {
    "epochs": 6,
    "batch_size": 9,  # shares of 4 and 5
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "ema_decay": 0.9,
    "drop_path": 0.1,
}


@pytest.mark.ray
@pytest.mark.timeout(580)
def test_two_workers_one_of_them_killed_end_with_the_curve_of_one_process(
    setting: Setting,
) -> None:
    expected = curve(setting.train("whole", {"training": GENTLE}))
    out, log = setting.folder / "shared", setting.folder / "log.txt"
    recipe = setting.recipe(training=GENTLE)
    command = [str(DVT), "train", "--recipe", str(recipe), "--out", str(out), "--workers", "2"]
    command += ["--threads", "1", "--save-every-s", "0.001", "--json"]
    with (
        log.open("w") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        deadline = time.monotonic() + 300
        while not curve(out) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        workers = pids_of("ray::RayTrainWorker", process.pid)
        assert len(workers) == 2, log.read_text()
        os.kill(workers[-1], signal.SIGKILL)
        answer, _ = process.communicate(timeout=250)
    assert process.returncode == 0, log.read_text()
    assert "workers resume after step" in log.read_text()
    trained: dict[str, Any] = json.loads(answer.splitlines()[-1])
    assert trained["out"] == str(out)
    found = curve(out)
    assert [epoch["epoch"] for epoch in found] == [1, 2, 3, 4, 5, 6]
    for one, other in zip(found, expected, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)
        assert one["learning_rate"] == other["learning_rate"]
        # Rounding may change the prediction of one of the twelve images.
        assert one["accuracy_per_exit"] == pytest.approx(other["accuracy_per_exit"], abs=0.1)
    assert not (out / "training" / "ray").exists()


def test_more_workers_than_images_in_a_batch_are_refused(setting: Setting) -> None:
    with pytest.raises(UsageError, match=r"at most the 9 images of a batch \(got 10\)"):
        setting.train("out", {"training": GENTLE}, workers=10)


def test_without_ray_train_the_error_names_the_extra_to_install(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UsageError, match=r"needs Ray Train: pip install 'dvt-pipeline\[train\]'"):
        setting.train("out", workers=2)
