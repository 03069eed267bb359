"""What the shipped model `cifar10` promises, on pictures that nothing was chosen by."""

import json
from pathlib import Path

import pytest

import dvt as dvt_package
from dvt.loading import shipped_models
from tests.command_line import dvt, rows

TEST = Path(__file__).parents[3] / "shared" / "datasets" / "cifar10" / "test.parquet"
FLOOR = 0.87
needs_pictures = pytest.mark.skipif(
    not TEST.is_file(), reason="needs the pictures of ../shared/datasets"
)


def test_it_is_small() -> None:
    folder = shipped_models()["cifar10"]
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 20e6
    model = dvt_package.load_cascade("cifar10")
    assert model.config.num_stages == 3
    assert model.config.feature_reuse
    assert model.config.relation_reuse
    assert model.labels is not None
    assert "airplane" in model.labels


@needs_pictures
def test_the_floor_at_the_last_exit_holds_by_eval() -> None:
    done = dvt("eval", "--model", "cifar10", "--data", TEST, "--json")
    assert done.code == 0, done.err
    assert done.json["images"] == 5000
    assert done.json["accuracy_per_exit"][-1] >= FLOOR


@pytest.mark.ray
@needs_pictures
def test_the_floor_holds_through_the_pipeline_and_early_exits_are_worth_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ("--audit", "100%", "--keep-columns", "label_name")
    done = dvt("tag", TEST, "--model", "cifar10", "--out", out, *asked, "--json")
    assert done.code == 0, done.err
    assert (done.json["tagged"], done.json["dead_letters"]) == (5000, 0)
    names = dvt_package.load_cascade("cifar10").labels
    assert names is not None
    answers = rows(out / "tags", "SELECT label, audit_label_id, label_name FROM t")
    right = sum(row["label"] == row["label_name"] for row in answers) / 5000
    right_at_full_depth = (
        sum(names[row["audit_label_id"]] == row["label_name"] for row in answers) / 5000
    )
    assert right_at_full_depth >= FLOOR
    # The model's own thresholds are certified for a loss of at most 1 % (docs/cifar10.md).
    assert right >= right_at_full_depth - 0.01
    assert done.json["gmacs_per_image"] <= 0.6 * done.json["gmacs_full_depth"]
    run = json.loads((out / "run.json").read_text())
    assert tuple(run["thresholds"]) == dvt_package.load_cascade("cifar10").calibration.thresholds
