"""What the shipped model `photos` promises, on photographs that it was not trained on."""

import json
from pathlib import Path

import pytest

import dvt as dvt_package
from dvt.loading import DEFAULT_MODEL, shipped_models
from jobs.evaluation.evaluation import evaluate
from jobs.evaluation.recorder import ExitRecorder
from tests.command_line import differing_rows, dvt, rows, succeeded

DATASETS = Path(__file__).parents[3] / "shared" / "datasets"
VALIDATION = DATASETS / "imagenet_val" / "validation.parquet"
PHOTOS = DATASETS / "photos"
FLOOR = 0.81
needs_photographs = pytest.mark.skipif(
    not VALIDATION.is_file(), reason="needs the photographs of ../shared/datasets"
)


def test_it_is_the_default_small_and_knows_what_its_labels_mean() -> None:
    assert DEFAULT_MODEL == "photos"
    folder = shipped_models()["photos"]
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 5e6
    model = dvt_package.load_model("photos")
    assert model.spec.num_classes == 1000
    assert model.spec.num_stages >= 2
    assert model.calibration.thresholds is not None
    assert model.label_names[162] == "beagle"
    assert "dog" in model.groups.names
    assert model.spec.stages[0].embedding_width == 1280


@pytest.mark.slow
@needs_photographs
def test_accuracy_and_cost_hold() -> None:
    model = dvt_package.load_model("photos")
    recorded = ExitRecorder(model).record_labelled(str(VALIDATION), lambda _: None)
    default = evaluate(model, recorded).default
    assert recorded.num_images == 834
    assert recorded.accuracy_per_exit[-1] >= FLOOR
    assert default is not None
    assert default.accuracy >= recorded.accuracy_per_exit[-1] - 0.015
    assert default.gmacs <= 0.45


@pytest.mark.ray
@needs_photographs
@pytest.mark.usefixtures("ray_session")
def test_splits_audit_and_stricter_thresholds_hold_as_for_a_dvt(tmp_path: Path) -> None:
    """One pool, and one pool a stage: the same tables to the last bit, embeddings too."""
    pools = " | ".join(str(n + 1) for n in range(dvt_package.load_model("photos").spec.num_stages))
    asked = ("--embeddings", "--audit", "20%", "--dedupe")
    one, split = tmp_path / "one", tmp_path / "split"
    done = succeeded(dvt("tag", PHOTOS, "--out", one, *asked, "--json")).json
    assert (done["tagged"], done["dead_letters"]) == (200, 0)
    assert done["audit"]["images"] > 20
    succeeded(dvt("tag", PHOTOS, "--out", split, *asked, "--pools", pools))
    assert differing_rows(one / "tags", split / "tags") == 0

    # Most of these photographs are of the class in their name, which starts with its WordNet id.
    dogs = rows(one / "tags", "SELECT key FROM t WHERE list_contains(groups, 'dog')")
    assert len(dogs) > 10

    strict = tmp_path / "strict.json"
    thresholds = dvt_package.load_model("photos").thresholds()[:-1]
    strict.write_text(json.dumps([min(0.99, value + 0.05) for value in thresholds]))
    fresh = tmp_path / "fresh"
    again = succeeded(dvt("tag", PHOTOS, "--out", one, *asked, "--thresholds", strict, "--json"))
    assert 0 < again.json["retagged"] < 200
    succeeded(dvt("tag", PHOTOS, "--out", fresh, *asked, "--thresholds", strict))
    assert differing_rows(one / "tags", fresh / "tags") == 0
