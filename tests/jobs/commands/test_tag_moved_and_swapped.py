"""An archive that has moved, and a model file that changes during a run."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from dvt.loading import shipped_models
from pipeline.runtime.ray_session import running_ray
from tests.command_line import SHAPES, dvt, rows, succeeded
from tests.ray_session import Tagged


@pytest.mark.usefixtures("ray_session")
def test_an_archive_that_has_moved_is_continued_on_request(tagged: Tagged, tmp_path: Path) -> None:
    out = shutil.copytree(tagged.out, tmp_path / "out")
    moved = shutil.copytree(tagged.archive.images, tmp_path / "moved")
    Image.new("RGB", (64, 64), "red").save(moved / "new.png")
    command = ("tag", *SHAPES, moved, "--out", out, "--json")
    refused = dvt(*command)
    assert refused.code == 2
    assert "pass --moved" in refused.err
    done = succeeded(dvt(*command, "--moved"))
    assert (done.json["skipped"], done.json["tagged"]) == (tagged.archive.num_images, 1)
    again = succeeded(dvt(*command))
    assert (again.json["skipped"], again.json["tagged"]) == (tagged.archive.num_images + 1, 0)


@pytest.mark.usefixtures("ray_session")
def test_a_model_that_changes_during_a_run_ends_it_and_tags_nothing(
    tagged: Tagged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = shutil.copytree(shipped_models()["shapes"], tmp_path / "model")
    weights = model / "model.safetensors"
    original = weights.read_bytes()

    @contextmanager
    def swap_then_run(num_cpus: int) -> Iterator[None]:
        """The driver has loaded the model, the actors have not."""
        tensors = load_file(weights)
        name = next(name for name in tensors if name.endswith("bias"))
        save_file(tensors | {name: tensors[name] + 1}, weights)
        with running_ray(num_cpus):
            yield

    command = ("tag", "--model", model, tagged.archive.images, "--out", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.job.running_ray", swap_then_run)
        stopped = dvt(*command)
    assert stopped.code != 0
    assert f"model: {model} has changed since the run started" in stopped.err
    assert rows(tmp_path / "out" / "tags") == []
    weights.write_bytes(original)
    succeeded(dvt(*command))
    labels = "SELECT key, label FROM t ORDER BY key"
    assert rows(tmp_path / "out" / "tags", labels) == rows(tagged.out / "tags", labels)
