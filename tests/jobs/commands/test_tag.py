"""`dvt tag` from the command line, on real files, with a real Ray."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

import dvt as dvt_package
from dvt.device import inference_dtype
from dvt.preprocess import normalise, pixels_to_unit
from jobs.commands.summary_text import summary_lines
from jobs.datasets import load_labelled
from jobs.shapes import WrittenArchive
from pipeline.output.metadata import Summary
from pipeline.runtime.resource_plan import decode_settings
from tests.command_line import SHAPES, committed_files, dvt, rows, succeeded
from tests.ray_session import Tagged


def test_labels_and_exits_equal_those_of_predict_image_by_image(tagged: Tagged) -> None:
    model = dvt_package.load_cascade("shapes")
    pictures = load_labelled(str(tagged.archive.images.parent), decode_settings(model.spec))
    dtype = inference_dtype(torch.device("cpu"))
    images = normalise(pixels_to_unit(torch.from_numpy(pictures.pixels)), model.config.preprocess)
    expected = model.to(dtype).predict(images.to(dtype))
    got = rows(tagged.out / "tags", "SELECT * FROM t ORDER BY key")
    # In bfloat16 a row's place in its batch may move a confidence by more than the last bit of a
    # float32, and with it an exit that is on the edge.
    allowed = 0 if dtype == torch.float32 else 10
    exits = [row["exit_stage"] for row in got]
    differ = {n for n, stage in enumerate(expected.exit_stages.tolist()) if stage != exits[n]}
    differ |= {n for n, label in enumerate(expected.labels.tolist()) if label != got[n]["label_id"]}
    assert len(differ) <= allowed
    for number, confidence in enumerate(expected.confidences.tolist()):
        if number not in differ:
            tolerance = 1e-5 if dtype == torch.float32 else 0.02
            assert got[number]["confidence"] == pytest.approx(confidence, abs=tolerance)
    assert tagged.json["tagged"] == sum(tagged.json["exits"]) == tagged.archive.num_images
    assert min(tagged.json["exits"]) > 0, "the test needs images at every exit"


def test_a_second_run_adds_no_row_and_keeps_the_summary_of_all(
    tagged: Tagged, tmp_path: Path
) -> None:
    out = shutil.copytree(tagged.out, tmp_path / "out")
    again = succeeded(dvt("tag", *SHAPES, tagged.archive.images, "--out", out, "--json"))
    assert (again.json["skipped"], again.json["tagged"]) == (tagged.archive.num_images, 0)
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["tagged"], summary["exits"]) == (tagged.json["tagged"], tagged.json["exits"])
    assert committed_files(out / "tags") == [
        str(out / "tags" / Path(file).name) for file in committed_files(tagged.out / "tags")
    ]


@pytest.mark.usefixtures("ray_session")
def test_every_damaged_file_is_one_dead_letter_with_the_right_reason_and_the_rest_are_tags(
    damaged_archive: WrittenArchive, tmp_path: Path
) -> None:
    command = ("tag", *SHAPES, damaged_archive.images, "--out", tmp_path / "out", "--json")
    done = succeeded(dvt(*command))
    truth = pq.read_table(damaged_archive.truth).to_pylist()
    expected = {r["key"]: r["expected_reason"] for r in truth if r["expected_reason"]}
    letters = rows(tmp_path / "out" / "dead_letters")
    assert {row["key"]: row["reason"] for row in letters} == expected
    assert len(letters) == len(expected) == done.json["dead_letters"]
    tags = {row["key"]: row for row in rows(tmp_path / "out" / "tags")}
    assert set(tags) == {row["key"] for row in truth} - set(expected)
    for row in truth:
        if row["key"] in tags:
            tag = tags[row["key"]]
            assert (tag["width"], tag["height"]) == (row["width"], row["height"])
            assert tag["top_labels"][0] == tag["label"]
            assert len(tag["exit_confidences"]) == tag["exit_stage"]
    assert (tmp_path / "out" / "_SUCCESS").exists()

    few = dvt(*command[:-2], tmp_path / "few", "--max-errors", "2")
    assert few.code == 3
    assert "max-errors" in few.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("exits", "line"), [((7, 3), "images at exits 1 to 2: 7 / 3"), ((10,), "")]
)
def test_exits_are_counted_where_there_are_several(exits: tuple[int, ...], line: str) -> None:
    summary = Summary(
        images=10,
        tagged=10,
        dead_letters=0,
        other_files=0,
        skipped=0,
        exits=exits,
        gmacs_per_image=2.0,
        gmacs_full_depth=4.0,
        seconds=1.0,
        images_per_second=10.0,
        out="out",
    )
    assert [text for text in summary_lines(summary) if "exits" in text] == ([line] if line else [])
    assert any("50 % of the MACs saved" in text for text in summary_lines(summary))


def test_full_depth_saves_zero_and_not_minus_zero_percent() -> None:
    """(3 * 0.1) / 3 is greater than 0.1 in float64."""
    summary = Summary(
        images=3,
        tagged=3,
        dead_letters=0,
        other_files=0,
        skipped=0,
        exits=(0, 3),
        gmacs_per_image=(3 * 0.1) / 3,
        gmacs_full_depth=0.1,
        seconds=1.0,
        images_per_second=3.0,
        out="out",
    )
    assert any("full depth: 0 % of the MACs saved" in line for line in summary_lines(summary))
