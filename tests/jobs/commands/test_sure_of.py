"""`--sure-of group` from calibration to tags, and `dvt labels`."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import dvt as dvt_package
from dvt.calibration import HELD_OUT, RecordedExits
from dvt.loading import shipped_models
from jobs.calibration.thresholds import ThresholdOptions, choose_thresholds
from jobs.commands.calibrate import CalibrateJob, run_calibrate
from jobs.commands.eval import EvalJob, run_eval
from jobs.report import build_report
from jobs.shapes import CLASSES, write_shapes
from pipeline.audit.summary import in_audit
from pipeline.errors import UsageError
from tests.command_line import dvt, rows, succeeded

DATA = "shapes:300:6"
GROUPS = {
    "round": ["circle", "ring", "spiral", "crescent", "half_disc"],
    "ring": ["ring", "spiral"],
    "spiky": ["star", "lightning", "gear", "arrow", "cross", "heart"],
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model with groups and a calibration set for them."""
    folder = tmp_path_factory.mktemp("groups") / "model"
    shutil.copytree(shipped_models()["shapes"], folder)
    (folder / "groups.json").write_text(json.dumps(GROUPS))
    run_calibrate(CalibrateJob(model=str(folder), data=DATA, keep=True, sure_of="group"))
    return folder


def thresholds_file(model: Path, out: Path, **asked: Any) -> dict[str, Any]:
    job = {"model": str(model), "out": out, "budget": "4M"} | asked
    found: dict[str, Any] = run_calibrate(CalibrateJob.model_validate(job)).data
    return found


def refusal(model: Path, sure_of: Any, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        choose_thresholds(
            ThresholdOptions(**options), str(model), dvt_package.load_model(model), sure_of=sure_of
        )
    return str(caught.value)


def test_exits_are_recorded_by_part(model: Path) -> None:
    of_groups = RecordedExits.load(model / "group_held_out.safetensors")
    groups = dvt_package.load_model(model).groups
    assert of_groups.signal == f"group {groups.digest}"
    labels = run_eval(EvalJob(model=str(model), data=DATA)).data
    found = run_eval(EvalJob(model=str(model), data=DATA, sure_of="group")).data
    assert found["accuracy_per_exit"] == pytest.approx(of_groups.accuracy_per_exit)
    assert found["accuracy_per_exit"][0] > labels["accuracy_per_exit"][0]
    assert labels["default"] is not None
    assert found["default"] is None, "the model's own thresholds are for labels"
    assert not found["curves"]["stored"]


def test_thresholds_are_for_one_exit_signal(model: Path, tmp_path: Path) -> None:
    labels = thresholds_file(model, tmp_path / "labels.json")
    groups = thresholds_file(model, tmp_path / "groups.json", sure_of="group")
    assert labels["signal"] == "label"
    assert groups["thresholds"] != labels["thresholds"]
    loaded = dvt_package.load_model(model)
    options = ThresholdOptions(thresholds=tmp_path / "groups.json")
    chosen = choose_thresholds(options, str(model), loaded, sure_of="group")
    assert chosen.thresholds == tuple(groups["thresholds"])
    assert chosen == choose_thresholds(
        ThresholdOptions.model_validate({"budget": "4M"}), str(model), loaded, sure_of="group"
    )
    for name, sure_of in (("labels", "group"), ("groups", "label")):
        path = tmp_path / f"{name}.json"
        assert refusal(model, sure_of, thresholds=path) == (
            f"thresholds: {path} was made with --sure-of {name[:-1]}, not with --sure-of {sure_of}"
        )
    assert refusal(model, "group").startswith("thresholds: a model's own apply to --sure-of label")


def test_other_groups_need_a_calibration_of_their_own(model: Path, tmp_path: Path) -> None:
    thresholds_file(model, tmp_path / "t.json", sure_of="group")
    changed = tmp_path / "model"
    shutil.copytree(model, changed)
    (changed / "groups.json").write_text(json.dumps({"round": ["circle"]}))
    was_made = "was made for other groups than the model has now"
    for options, path in (
        ({"thresholds": tmp_path / "t.json"}, f"thresholds: {tmp_path / 't.json'}"),
        ({"budget": "4M"}, f"model: {changed / 'group_held_out.safetensors'}"),
    ):
        assert refusal(changed, "group", **options) == f"{path} {was_made}"
    (changed / "group_held_out.safetensors").unlink()
    assert refusal(changed, "group", budget="4M").endswith("--keep --sure-of group")
    assert (changed / HELD_OUT).exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ("calibrate", "--model", "shapes", "--budget", "4M", "--out", "t.json"),
            "sure-of: must be label for a model without groups (got group)",
        ),
        (
            ("calibrate", "--model", "shapes", "--budget", "4M", "--adopt"),
            "adopt: applies to sure-of label only (got group); use --out",
        ),
        (
            ("eval", "--model", "shapes", "--data", DATA),
            "sure-of: must be label for a model without groups (got group)",
        ),
    ],
)
def test_a_model_without_groups_is_refused_in_one_line(
    command: tuple[str, ...], message: str
) -> None:
    done = dvt(*command, "--sure-of", "group")
    assert done.code == 2
    assert message in done.err.splitlines()[-1]


def test_labels_lists_classes_and_groups(model: Path) -> None:
    found = succeeded(dvt("labels", model, "--json")).json
    assert [each["name"] for each in found["classes"]] == list(CLASSES)
    ring = found["classes"][CLASSES.index("ring")]
    assert ring["groups"] == ["ring", "round"]
    assert {group["name"]: len(group["class_ids"]) for group in found["groups"]} == {
        name: len(classes) for name, classes in GROUPS.items()
    }
    text = succeeded(dvt("labels", model)).out
    assert any(line.split() == ["9", "ring", "ring,", "round"] for line in text.splitlines())
    assert "groups" in succeeded(dvt("labels", "cifar10")).out


@pytest.mark.usefixtures("ray_session")
def test_tags_of_sure_groups_are_the_same_in_any_pools_and_continued_as_such(
    model: Path, tmp_path: Path
) -> None:
    images = write_shapes(tmp_path / "a", 300, seed=31, size=(96, 80)).images
    copy = min(path for path in images.rglob("*.*") if path.is_file())
    copies = ("zz-1", "zz-2")
    for name in copies:
        shutil.copy(copy, images / f"{name}{copy.suffix}")
    command = ("tag", images, "--model", model, "--budget", "4M", "--audit", "50%", "--dedupe")
    grouped = (*command, "--sure-of", "group", "--out")
    done = succeeded(dvt(*grouped, tmp_path / "one", "--json"))
    succeeded(dvt(*grouped, tmp_path / "two", "--pools", "1 | 2-3"))
    parts = dvt_package.load_model(model).groups.part_ids()
    one, two = (
        {row["key"]: row for row in rows(tmp_path / name / "tags")} for name in ("one", "two")
    )
    varying = {"shard", "audit_label_id", "audit_confidence", "audit_agrees", "gmacs"}
    for key, row in one.items():
        assert {name: row[name] for name in row if name not in varying} == {
            name: two[key][name] for name in row if name not in varying
        }
        names = [name for name, labels in GROUPS.items() if row["label"] in labels]
        assert row["groups"] is not None
        assert row["group_scores"] == sorted(row["group_scores"], reverse=True)
        assert row["exit_confidences"][-1] >= row["confidence"] == row["top_scores"][0]
        if row["exit_confidences"][-1] > 0.5:
            assert set(names) <= set(row["groups"])
        if row["audit_agrees"] is not None:
            agrees = parts[row["label_id"]] == parts[row["audit_label_id"]]
            assert row["audit_agrees"] == agrees
    is_audited = [in_audit([key], 0.5)[0] for key in one]
    assert (
        100
        < sum(is_audited)
        == done.json["audit"]["images"]
        + sum(in_audit([key], 0.5)[0] for key, row in one.items() if row["gmacs"] == 0)
    )
    agreeing = sum(row["audit_agrees"] is True for row in one.values())
    assert done.json["audit"]["agreeing"] == agreeing
    in_report = build_report(tmp_path / "one").audit
    assert in_report is not None
    assert in_report.agreeing == agreeing

    again = succeeded(dvt(*command, "--out", tmp_path / "one", "--json"))
    assert (again.json["tagged"], again.json["skipped"]) == (0, len(one))
    refused = dvt(*command, "--sure-of", "label", "--out", tmp_path / "one")
    assert refused.code == 2
    assert "holds results of another sure-of: group, not label" in refused.err
    other = tmp_path / "other"
    shutil.copytree(model, other)
    (other / "groups.json").write_text(json.dumps({"round": ["circle"]}))
    changed = dvt("tag", images, "--model", other, "--full-depth", "--out", tmp_path / "one")
    assert changed.code == 2
    assert "holds results of another set of groups" in changed.err
