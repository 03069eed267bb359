"""`dvt demo`, `dvt report`, `dvt eval` and `dvt train`, as a person runs them."""

import re
from pathlib import Path

import pytest
from deltalake import DeltaTable

import dvt as dvt_package
from tests.command_line import dvt


@pytest.mark.ray
def test_the_demo_tells_its_figures_and_a_second_time_the_same(tmp_path: Path) -> None:
    command = ("demo", "--out", tmp_path / "d", "--num-images", 150, "--damaged", 7)
    first = dvt(*command)
    assert first.code == 0, first.err
    for word in ("accuracy", "images per exit", "MACs saved", "dead letters", "report"):
        assert word in first.out
    page = Path(re.findall(r"^report +(.*)$", first.out, re.MULTILINE)[0])
    assert "<svg" in page.read_text(encoding="utf-8")
    # 7 damaged files, one of which only has a wrong extension and is tagged all the same.
    assert DeltaTable(str(tmp_path / "d" / "results" / "tags")).to_pyarrow_table().num_rows == 151
    second = dvt(*command)
    assert second.code == 0, second.err
    assert second.out == first.out


def test_the_shipped_model_is_good_at_its_last_exit_and_worse_at_its_first() -> None:
    done = dvt("eval", "--model", "shapes", "--data", "shapes:1500:77", "--json")
    assert done.code == 0, done.err
    first, _, last = done.json["accuracy_per_exit"]
    assert last >= 0.96  # 97 % and more on larger samples, see docs/shapes.md
    assert first < last
    assert done.json["default"]["gmacs"] < done.json["gmacs_per_exit"][-1] / 2
    assert len(done.json["curves"]["stored"]) == 59


def test_the_shipped_checkpoint_is_small_and_readable_by_everybody() -> None:
    from dvt.loading import shipped_models

    folder = shipped_models()["shapes"]
    assert sum(file.stat().st_size for file in folder.iterdir()) < 6e6
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in folder.iterdir())


def test_training_writes_a_checkpoint_that_loads_and_evaluates(tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        "preset: dvt_tiny_48\ndata: shapes:96:1\nvalidation_data: shapes:64:2\n"
        "training: {epochs: 1, batch_size: 32}\n"
    )
    done = dvt("train", "--recipe", recipe, "--out", tmp_path / "m", "--json")
    assert done.code == 0, done.err
    model = dvt_package.load_model(tmp_path / "m")
    assert model.labels is not None
    assert len(model.labels) == 14
    assert model.calibration.thresholds is not None
    evaluated = dvt(
        "eval",
        "--model",
        tmp_path / "m",
        "--data",
        "shapes:64:2",
        "--json",
        "--curve",
        tmp_path / "c.svg",
    )
    assert evaluated.code == 0, evaluated.err
    assert evaluated.json["accuracy_per_exit"] == pytest.approx(
        done.json["validation_accuracy_per_exit"]
    )
    assert "<svg" in (tmp_path / "c.svg").read_text(encoding="utf-8")


def test_a_recipe_that_is_wrong_is_told_in_one_line(tmp_path: Path) -> None:
    recipe = tmp_path / "bad.yaml"
    recipe.write_text("preset: dvt_tiny_48\ndata: shapes:9\nvalidation_data: shapes:9\nlr: 1\n")
    done = dvt("train", "--recipe", recipe, "--out", tmp_path / "m")
    assert done.code == 2
    assert "lr" in done.err.strip().splitlines()[-1]
