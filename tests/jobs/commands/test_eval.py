"""`dvt eval` on formats, published checkpoints and static models."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

import dvt as dvt_package
from dvt.loading import save_model
from jobs import cli
from jobs.commands.eval import EvalJob, run_eval
from jobs.shapes import CLASSES, WrittenArchive, write_shapes
from tests.command_line import SHAPES, dvt
from tests.jobs.datasets.conftest import write_tar


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> WrittenArchive:
    return write_shapes(tmp_path_factory.mktemp("eval") / "a", 90, seed=8, size=(96, 96))


@pytest.fixture(scope="module")
def tar(archive: WrittenArchive) -> Path:
    members = []
    for row in pq.read_table(archive.truth).to_pylist():
        stem = Path(row["key"]).stem
        members.append((f"{stem}.jpg", (archive.images / row["key"]).read_bytes()))
        members.append((f"{stem}.cls", b"%d" % row["label_id"]))
    members += [("broken.jpg", b"\xff\xd8\xff"), ("broken.cls", b"3")]
    return write_tar(archive.truth.parent.parent / "a.tar", members)


def test_a_tar_is_evaluated_with_all_figures_in_one_json_line(tar: Path, tmp_path: Path) -> None:
    done = dvt(
        "eval", "--model", "shapes", "--data", tar, "--json",
        "--csv", tmp_path / "c.csv", "--curve", tmp_path / "c.svg",
    )  # fmt: skip
    assert done.code == 0, done.err
    figures = done.json
    assert (figures["images"], figures["unreadable"]) == (90, 1)
    assert min(figures["accuracy_per_exit"]) > 0.9
    assert {name: len(curve) for name, curve in figures["curves"].items()} == {
        "stored": 59,
        "fitted": 59,
    }
    assert figures["checkpoint"]["data"] == "shapes:6000:2"
    assert len(figures["budgets"]) == 6
    assert set(figures["budgets"][0]) == {"gmacs", "stored", "fitted", "checkpoint"}
    assert sum(figures["default"]["exits"]) == 90
    with (tmp_path / "c.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 59
    assert float(rows[58]["accuracy"]) == figures["curves"]["stored"][58]["accuracy"]
    drawing = (tmp_path / "c.svg").read_text(encoding="utf-8")
    for title in ("stored thresholds", "fitted here"):
        assert title in drawing


def test_the_same_pictures_as_a_folder_give_the_same_figures(
    tar: Path, archive: WrittenArchive
) -> None:
    of_tar = run_eval(EvalJob(model="shapes", data=str(tar))).data
    of_folder = run_eval(EvalJob(model="shapes", data=str(archive.truth.parent))).data
    assert of_folder["unreadable"] == 0
    for name in ("accuracy_per_exit", "images", "default"):
        assert of_tar[name] == of_folder[name]
    assert of_tar["curves"]["stored"] == of_folder["curves"]["stored"]


def test_thresholds_fitted_to_other_data_are_evaluated_on_all_of_this(
    archive: WrittenArchive,
) -> None:
    data = str(archive.truth.parent)
    done = run_eval(EvalJob(model="shapes", data=data, fit_data="shapes:60:4"))
    assert done.data["fit_data"] == "shapes:60:4"
    other = run_eval(EvalJob(model="shapes", data="shapes:60:4"))
    fitted = [point["thresholds"] for point in done.data["curves"]["fitted"]]
    assert fitted == [point["thresholds"] for point in other.data["curves"]["fitted"]]
    assert all(sum(point["exits"]) == 90 for point in done.data["curves"]["fitted"])


def test_a_published_checkpoint_is_evaluated_beside_the_figures_it_reports(
    tmp_path: Path, published_layout: Callable[..., dict[str, Tensor]]
) -> None:
    """All weights are zero, so each answer is class 0: right for 1 image of 4."""
    with torch.device("meta"):
        model = dvt_package.create_model("dvt_t2t_vit_12")
    sweep = [[0.9 - 0.01 * row, 0.8 - 0.01 * row, -1e8] for row in range(59)]
    curve = [[0.5 + 0.05 * row for row in range(59)], [70.0 + 0.1 * row for row in range(59)]]
    path = tmp_path / "t2t.pth.tar"
    content = {
        "model_state_dict": published_layout(model),
        "flops": [0.47, 1.46, 3.50],
        "anytime_classification": [69.04, 75.65, 80.00],
        "dynamic_threshold": sweep,
        "budgeted_batch_classification": curve,
    }
    torch.save(content, path)
    members = []
    for number in range(4):
        Image.new("RGB", (32, 32), (60 * number, 0, 0)).save(tmp_path / "a.png")
        members.append((f"{number}.png", (tmp_path / "a.png").read_bytes()))
        members.append((f"{number}.cls", b"%d" % (250 * number)))
    data = write_tar(tmp_path / "val.tar", members)
    done = run_eval(EvalJob(model=str(path), data=str(data), batch_size=4))
    assert done.data["accuracy_per_exit"] == (0.25, 0.25, 0.25)
    assert done.data["checkpoint"]["accuracy_per_exit"] == pytest.approx((0.6904, 0.7565, 0.8))
    assert done.data["default"] is None
    stored = done.data["curves"]["stored"]
    assert [point["exits"] for point in stored] == [(0, 0, 4)] * 59
    assert [row["gmacs"] for row in done.data["budgets"]] == [0.75, 1.0, 1.25, 1.5, 1.75, 2.0]
    # 0.75 G is the sixth point of the curve: 70.5 %.
    assert done.data["budgets"][0]["checkpoint"] == pytest.approx(0.705)
    text = "\n".join(done.lines)
    for figure in ("69.04 %", "75.65 %", "80.00 %", "25.00 %", "0.75 GMACs", "70.50 %"):
        assert figure in text


def test_a_static_model_has_its_accuracy_and_cost_and_no_curve(
    tmp_path: Path, tiny_cascade: Callable[..., dvt_package.Cascade]
) -> None:
    model = tiny_cascade(sides=(3,))
    model.labels = ("a", "b", "c", "d", "e")
    save_model(model, tmp_path / "m")
    random = np.random.default_rng(0)
    images = []
    for _ in range(12):
        Image.fromarray(random.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(
            tmp_path / "a.png"
        )
        images.append((tmp_path / "a.png").read_bytes())
    pq.write_table(pa.table({"image": images, "label": ["c"] * 12}), tmp_path / "a.parquet")
    done = run_eval(
        EvalJob(
            model=str(tmp_path / "m"),
            data=str(tmp_path / "a.parquet"),
            curve=tmp_path / "c.svg",
            csv=tmp_path / "c.csv",
        )
    )
    assert len(done.data["accuracy_per_exit"]) == len(done.data["gmacs_per_exit"]) == 1
    assert done.data["curves"] == {"stored": [], "fitted": []}
    assert done.data["budgets"] == []
    assert (tmp_path / "c.csv").read_text() == "curve,position,gmacs,accuracy\n"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--data", "nowhere.tar"], "nowhere.tar"),
        (["--data", "shapes:0"], "no labelled images"),
        ([*SHAPES, "--data", "{folder}"], "'zebra'"),
        (["--data", "{folder}", "--model", "resnet"], "'resnet'"),
        (["--data", "shapes:9", "--dtype", "float16"], "dtype"),
        (["--data", "shapes:9", "--batch-size", "0"], "batch-size"),
        ([*SHAPES, "--data", "shapes:9", "--fit-data", "{folder}"], "'zebra'"),
        ([], "data: must be given"),
    ],
)
def test_wrong_input_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], word: str
) -> None:
    (tmp_path / "zebra").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "zebra" / "a.png")
    given = [argument.format(folder=tmp_path) for argument in arguments]
    assert cli.run(["eval", *given]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if " INFO " not in line]
    assert len(lines) == 1
    assert word in lines[0]


def test_an_unknown_class_found_in_a_tar_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    picture = ("a.png", (tmp_path / "a.png").read_bytes())
    tar = write_tar(tmp_path / "a.tar", [picture, ("a.cls", b"%d" % len(CLASSES))])
    assert cli.run(["eval", *SHAPES, "--data", str(tar)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "'14'" in lines[0]
