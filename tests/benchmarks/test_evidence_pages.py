"""From records to the pages: every command on made-up models, and the project's own pages."""

import json
import sys
from argparse import Namespace
from pathlib import Path
from shutil import copy

import pytest

from benchmarks.evidence.ablation import ablation
from benchmarks.evidence.curves import curves
from benchmarks.evidence.models import ABLATION, SCHEDULES
from benchmarks.evidence.page import PAGES, filled, page
from benchmarks.evidence.pictures import pictures
from benchmarks.evidence.records import file_of
from benchmarks.evidence.results import read_results, result_file
from benchmarks.evidence.savings import savings
from benchmarks.evidence.signals import signals
from benchmarks.evidence.tables import Block
from pipeline.errors import UsageError
from tests.benchmarks.made_up_records import COSTS, made_up_record

ROOT = Path(__file__).resolve().parents[2]


def given_in(folder: Path, check: bool = False) -> Namespace:
    return Namespace(
        models=folder / "models",
        data=None,
        records=folder / "records",
        results=folder / "results",
        docs=folder / "docs",
        check=check,
        of=None,
        out=None,
        messages=sys.stderr,
    )


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results and pages of made-up models of the short schedule."""
    folder = tmp_path_factory.mktemp("evidence")
    given = given_in(folder)
    for place, name in enumerate(ABLATION.values()):
        qualities = (0.2 - place / 10, 0.6, 1.0 - place / 10)
        made_up_record(name, qualities).save(file_of(given.records, name))
    for stage, name in SCHEDULES[0].statics.items():
        record = made_up_record(name, (0.3 * stage,), costs=(COSTS[stage - 1],))
        record.save(file_of(given.records, name))
    given.docs.mkdir()
    for name in PAGES:
        copy(ROOT / "docs" / name, given.docs)
    for command in (curves, savings, ablation, signals, pictures, page):
        command(given)
    return folder


def test_the_pages_of_the_project_have_the_figures_of_its_results() -> None:
    given = given_in(ROOT, check=True)
    given.results = ROOT / "benchmarks" / "results"
    page(given)


def test_results_say_with_what_and_on_which_pictures_they_were_computed(evidence: Path) -> None:
    results = read_results(evidence / "results", "savings")
    assert results is not None
    assert results["models"]["short/cascade"] == "digest of short/cascade"
    assert [one["name"] for one in results["test"]] == ["test.parquet"]
    assert {"commit", "hardware", "threads", "versions"} <= results.keys()
    assert str(evidence) not in json.dumps(results), "places of one machine are nobody's business"
    assert [(one["schedule"], one["stage"]) for one in results["savings"]] == [
        ("short", 1),
        ("short", 2),
        ("short", 3),
    ]


def test_pages_are_current_once_they_are_written_and_stale_after_other_results(
    evidence: Path, tmp_path: Path
) -> None:
    text = (evidence / "docs" / "evidence.md").read_text(encoding="utf-8")
    assert "short schedule, stage 3: **" in text
    assert "separate static models" in text
    assert text.count("*Not measured yet") == 3  # nothing recorded from folders, nothing timed
    page(given_in(evidence, check=True))
    for part in ("docs", "results"):
        (tmp_path / part).mkdir()
        for file in (evidence / part).iterdir():
            copy(file, tmp_path / part)
    changed = result_file(tmp_path / "results", "curves")
    results = json.loads(changed.read_text(encoding="utf-8"))
    results["schedules"]["short"]["points"][0]["accuracy"] = 0.123  # only the drawing has it
    changed.write_text(json.dumps(results), encoding="utf-8")
    with pytest.raises(UsageError, match=r"stale are evidence-curves-short\.svg"):
        page(given_in(tmp_path, check=True))


def test_a_saving_out_of_reach_is_told_as_such(evidence: Path, tmp_path: Path) -> None:
    results = read_results(evidence / "results", "savings")
    assert results is not None
    for pair in results["savings"]:
        pair["held_out"]["saving"] = None
    result_file(tmp_path, "savings").write_text(json.dumps(results), encoding="utf-8")
    text = filled((evidence / "docs" / "evidence.md").read_text(), PAGES["evidence.md"], tmp_path)
    assert "does **not** reach the static model's accuracy" in text


def test_a_page_without_one_of_its_blocks_is_refused(tmp_path: Path) -> None:
    blocks = {"one": Block("curves", str), "other": Block("curves", str)}
    with pytest.raises(UsageError, match=r"blocks one, other once \(got one\)"):
        filled("<!-- begin one -->\n<!-- end one -->", blocks, tmp_path)


def test_without_records_a_command_says_in_one_line_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="run `record` first"):
        curves(given_in(tmp_path))
