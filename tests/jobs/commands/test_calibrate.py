"""`dvt calibrate`, and `dvt tag` with what it found."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import dvt as dvt_package
from dvt.calibration import HELD_OUT, RecordedExits
from dvt.loading import shipped_models
from jobs import cli
from jobs.calibration.fit import calibrate
from jobs.calibration.pictures import open_calibration_pictures
from jobs.calibration.thresholds import (
    ThresholdChoice,
    ThresholdOptions,
    choose_thresholds,
)
from jobs.calibration.thresholds_file import Asked, CalibratedModel
from jobs.commands.calibrate import CalibrateJob, run_calibrate
from jobs.commands.eval import EvalJob, run_eval
from jobs.shapes import WrittenArchive, write_shapes
from pipeline.errors import UsageError
from tests.command_line import SHAPES, dvt

COSTS = dvt_package.load_model("shapes").spec.gmacs_per_exit


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> WrittenArchive:
    return write_shapes(tmp_path_factory.mktemp("calibrate") / "a", 150, seed=21, size=(96, 96))


@pytest.fixture
def own_model(tmp_path: Path) -> Path:
    """A copy of the shipped model without its calibration set."""
    folder = tmp_path / "model"
    shutil.copytree(shipped_models()["shapes"], folder)
    (folder / HELD_OUT).unlink()
    return folder


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert cli.run([str(argument) for argument in arguments]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if " INFO " not in line]
    assert len(lines) == 1
    return lines[0]


def calibrated(tmp_path: Path, **asked: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"model": "shapes", "out": tmp_path / "t.json"} | asked
    return run_calibrate(CalibrateJob(**given)).data


def test_a_budget_is_met_on_images_that_were_not_fitted_too(
    tmp_path: Path,
) -> None:
    found = calibrated(tmp_path, budget="4M")
    assert found["fitted"]["gmacs"] <= 0.004
    assert found["held_out"]["gmacs"] == pytest.approx(0.004, rel=0.05)
    assert found["held_out"]["accuracy"] > found["held_out"]["accuracy_full_depth"] - 0.003
    assert sum(found["held_out"]["exits"]) == found["num_images"]
    assert json.loads((tmp_path / "t.json").read_text()) | {"out": found["out"]} == found


def test_a_bounded_drop_is_certified_on_the_second_half(tmp_path: Path) -> None:
    found = calibrated(tmp_path, max_drop="1%", of="agreement")
    certificate = found["certificate"]
    assert certificate["num_images"] + found["fitted"]["num_images"] == found["num_images"]
    assert certificate["p_value"] <= 0.05
    assert certificate["observed_risk"] == pytest.approx(1 - found["held_out"]["agreement"])
    assert found["held_out"]["gmacs"] < 0.3 * COSTS[-1]
    lines = run_calibrate(
        CalibrateJob(model="shapes", out=tmp_path / "t.json", max_drop=0.01, of="agreement")
    ).lines
    text = "\n".join(lines)
    assert "certified: at most 1 % of the answers differ from full depth's, 95 % sure" in text
    assert "allow " in text


def test_a_mix_of_exits_is_met(tmp_path: Path) -> None:
    found = calibrated(tmp_path, exit_mix="60/25/15")
    shares = np.array(found["fitted"]["exits"]) / found["num_images"]
    assert shares == pytest.approx([0.6, 0.25, 0.15], abs=1e-3)


def test_parquet_without_a_label_column_calibrates_by_agreement(
    archive: WrittenArchive, tmp_path: Path
) -> None:
    content = [path.read_bytes() for path in sorted(archive.images.rglob("*.jpg"))[:9]]
    pq.write_table(pa.table({"image": content}), tmp_path / "plain.parquet")
    source, ids = open_calibration_pictures(
        str(tmp_path / "plain.parquet"), dvt_package.load_model("shapes")
    )
    assert ids is None
    assert sum(1 for _ in source.samples()) == len(content)
    with pytest.raises(UsageError, match="must have a column label"):
        open_calibration_pictures(
            str(tmp_path / "plain.parquet"), dvt_package.load_model("shapes"), "accuracy"
        )


def test_a_folder_without_labels_calibrates_by_agreement(
    archive: WrittenArchive, own_model: Path, tmp_path: Path
) -> None:
    (archive.images / "note.txt").write_text("no picture")
    found = calibrated(
        tmp_path, model=str(own_model), data=str(archive.images), budget="4M", keep=True
    )
    assert (found["num_images"], found["num_unreadable"]) == (150, 1)
    assert (found["of"], found["fitted"]["accuracy"]) == ("agreement", None)
    again = calibrated(tmp_path, model=str(own_model), budget="4M")
    assert again["thresholds"] == found["thresholds"], "from the calibration set"


def test_labelled_images_give_accuracy_and_their_sample_is_the_same_every_time(
    archive: WrittenArchive, tmp_path: Path
) -> None:
    data = str(archive.truth.parent)
    found = [calibrated(tmp_path, data=data, budget="4M", num_images=60) for _ in range(2)]
    assert (found[0]["of"], found[0]["num_images"]) == ("accuracy", 60)
    assert found[0] == found[1]


def test_too_few_images_are_refused_with_the_number_that_is_needed(
    capsys: pytest.CaptureFixture[str], archive: WrittenArchive, tmp_path: Path
) -> None:
    line = refused(
        capsys, "calibrate", *SHAPES, "--data", archive.images, "--max-drop", "1%",
        "--of", "agreement", "--out", tmp_path / "t.json",
    )  # fmt: skip
    assert "at least 299 images in each half" in line
    assert not (tmp_path / "t.json").exists()


def test_a_class_that_the_model_lacks_is_named_unless_labels_are_ignored(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for folder in ("zebra", "circle"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "data" / folder / "a.png")
    asked = [
        "calibrate",
        *SHAPES,
        "--data",
        tmp_path / "data",
        "--budget",
        "4M",
        "--out",
        tmp_path / "t",
    ]
    assert "'zebra'" in refused(capsys, *asked)
    assert cli.run([*map(str, asked), "--of", "agreement"]) == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--budget", "4M"], "out: must be given"),
        (["--out", "{t}"], "exactly one"),
        (["--out", "{t}", "--budget", "4M", "--max-drop", "1%"], "exactly one"),
        (["--out", "{t}", "--budget", "4"], "budget: must be a mean cost"),
        (["--out", "{t}", "--budget", "1M"], "budget: must be at least the first exit's"),
        ([*SHAPES, "--out", "{t}", "--exit-mix", "60/40"], "one share for each of 3 exits"),
        (["--out", "{t}", "--max-drop", "2"], "max-drop: must be a share"),
        (["--out", "{t}", "--budget", "4M", "--data", "nowhere"], "nowhere"),
        (["--keep"], "data: must be given"),
    ],
)
def test_wrong_input_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], word: str
) -> None:
    given = [argument.format(t=tmp_path / "t.json") for argument in arguments]
    assert word in refused(capsys, "calibrate", *given)


@pytest.mark.usefixtures("ray_session")
def test_tag_takes_the_file_and_prints_its_promise(archive: WrittenArchive, tmp_path: Path) -> None:
    found = calibrated(tmp_path, max_drop="1%")
    done = dvt(
        "tag", *SHAPES, archive.images, "--out", tmp_path / "o", "--thresholds", tmp_path / "t.json"
    )
    assert done.code == 0, done.err
    assert "certified: at most 1 % of accuracy is lost" in done.out
    run = json.loads((tmp_path / "o" / "run.json").read_text())
    assert run["thresholds"] == list(found["thresholds"])
    again = ["tag", *SHAPES, str(archive.images), "--out", str(tmp_path / "o"), "--max-drop", "1%"]
    assert cli.run(again) == 0, "the same thresholds continue the same output"


def test_tag_refuses_thresholds_of_other_weights_and_edited_certificates(
    capsys: pytest.CaptureFixture[str], archive: WrittenArchive, tmp_path: Path
) -> None:
    calibrated(tmp_path, max_drop="1%")
    path, out = tmp_path / "t.json", tmp_path / "o"
    content = json.loads(path.read_text())
    edits = (
        ({"model": content["model"] | {"digest": "0123"}}, "run dvt calibrate for this model"),
        ({"thresholds": [0.1, 0.1]}, "was edited"),
        ({"num_images": "many"}, "num_images"),
    )
    for edit, word in edits:
        path.write_text(json.dumps(content | edit))
        assert word in refused(
            capsys, "tag", *SHAPES, archive.images, "--out", out, "--thresholds", path
        )
    assert not out.exists()


def test_tag_names_the_command_that_makes_a_missing_calibration_set(
    capsys: pytest.CaptureFixture[str], archive: WrittenArchive, own_model: Path, tmp_path: Path
) -> None:
    tag = ("tag", archive.images, "--out", tmp_path / "o", "--model", own_model, "--budget", "4M")
    assert f"run: dvt calibrate --model {own_model}" in refused(capsys, *tag)
    shutil.copy(shipped_models()["shapes"] / HELD_OUT, own_model / HELD_OUT)
    config = json.loads((own_model / "config.json").read_text())
    (own_model / "config.json").write_text(json.dumps(config | {"name": "another"}))
    assert "belongs to other weights" in refused(capsys, *tag)


def test_a_precision_other_than_the_calibrated_one_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = dvt_package.load_model("shapes")
    for asked, is_proof in (({"budget": "4M"}, False), ({"max_drop": "5%"}, True)):
        calibrated(tmp_path, **asked)
        content = json.loads((tmp_path / "t.json").read_text()) | {"dtype": "float16"}
        (tmp_path / "t.json").write_text(json.dumps(content))
        options = ThresholdOptions(thresholds=tmp_path / "t.json")
        assert choose_thresholds(options, "shapes", model).thresholds == tuple(
            content["thresholds"]
        )
        assert ("calibrated in float16" in caplog.text) == is_proof


def test_the_precision_of_a_shipped_certificate_is_named_if_it_is_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = dvt_package.load_model("cifar10")
    (same,) = choose_thresholds(ThresholdOptions(), "cifar10", model, "float32").promises
    (other,) = choose_thresholds(ThresholdOptions(), "cifar10", model, "bfloat16").promises
    assert other == f"{same} (in float32; this run uses bfloat16)"
    assert not caplog.records


def test_a_model_with_one_exit_has_nothing_to_choose() -> None:
    ones = np.ones((1, 9))
    recorded = RecordedExits(
        ones.astype(np.float32), ones > 0, None, ones[0] > 0, "a", "float32", "some"
    )
    model = CalibratedModel(name="static", digest="a", gmacs_per_exit=(1.0,))
    with pytest.raises(UsageError, match="static has one exit"):
        calibrate(recorded, model, Asked(budget_gmacs=1.0), "agreement")


def test_only_one_way_to_choose_thresholds_may_be_given(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    line = refused(
        capsys, "tag", *SHAPES, tmp_path, "--out", tmp_path / "o", "--budget", "4M", "--full-depth"
    )
    assert "budget: cannot be combined with full-depth" in line


def test_adopted_thresholds_are_the_default_and_keep_their_promise(
    own_model: Path,
) -> None:
    shutil.copy(shipped_models()["shapes"] / HELD_OUT, own_model / HELD_OUT)
    before = json.loads((own_model / "calibration.json").read_text())
    asked: dict[str, Any] = {"model": str(own_model), "max_drop": "0.5%", "of": "agreement"}
    found = run_calibrate(CalibrateJob(**asked, adopt=True)).data
    assert "out" not in found
    after = json.loads((own_model / "calibration.json").read_text())
    provenance = after.pop("provenance")
    assert after == before | {"thresholds": found["thresholds"]}, "other entries stay"
    assert after["thresholds"] != before["thresholds"]
    assert (provenance["max_drop"], provenance["delta"], provenance["certified"]) == (
        0.005,
        0.05,
        True,
    )
    assert provenance["p_value"] == found["certificate"]["p_value"]
    model = dvt_package.load_model(own_model)
    assert model.thresholds() == (*found["thresholds"], dvt_package.exits.ALWAYS_EXIT)
    judged = run_eval(EvalJob(model=str(own_model), data="shapes:50:5")).data["default"]
    assert list(judged["thresholds"]) == found["thresholds"]
    choice = choose_thresholds(ThresholdOptions(), str(own_model), model)
    assert choice.thresholds is None
    assert choice.promises[0].startswith(
        "the model's own thresholds, certified: at most 0.5 % of the answers"
    )
    cheap: dict[str, Any] = {"model": str(own_model), "budget": "4M"}
    run_calibrate(CalibrateJob(**cheap, adopt=True))
    model = dvt_package.load_model(own_model)
    choice = choose_thresholds(ThresholdOptions(), str(own_model), model)
    assert choice == ThresholdChoice(None), "nothing is proved"


def test_only_a_checkpoint_folder_can_adopt(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, own_model: Path
) -> None:
    published = tmp_path / "dvt.pth.tar"
    published.write_bytes(b"")
    asked = ["calibrate", "--adopt", "--budget", "4M", "--model"]
    assert "adopt: needs a checkpoint folder" in refused(capsys, *asked, published)
    shipped = (shipped_models()["shapes"] / "calibration.json").read_bytes()
    assert "adopt: needs a checkpoint folder of your own" in refused(capsys, *asked, "shapes")
    assert (shipped_models()["shapes"] / "calibration.json").read_bytes() == shipped
    line = refused(capsys, "calibrate", "--adopt", "--keep", "--data", tmp_path)
    assert "adopt: needs one of --budget, --max-drop and --exit-mix" in line
    (own_model / ".calibration.json.partial").mkdir()  # even root cannot write a file there
    shutil.copy(shipped_models()["shapes"] / HELD_OUT, own_model / HELD_OUT)
    assert "adopt: cannot write to" in refused(capsys, *asked, own_model)
