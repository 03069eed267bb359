"""From recorded models to the pages, and the project's own pages."""

import json
from argparse import Namespace
from pathlib import Path
from shutil import copy

import pytest

from benchmarks.evidence.measure import publish_figures
from benchmarks.evidence.models import CASCADES, STATICS
from benchmarks.evidence.page import CHART, PAGES, filled, page
from benchmarks.evidence.results import read_results, result_file
from benchmarks.evidence.tables import BLOCKS, Block
from pipeline.errors import UsageError
from tests.benchmarks.made_up_records import COSTS, made_up_model

ROOT = Path(__file__).resolve().parents[2]


def given_in(folder: Path, check: bool = False) -> Namespace:
    return Namespace(
        command="measure",
        models=folder / "models",
        data=folder / "test.parquet",
        results=folder / "results",
        docs=folder / "docs",
        check=check,
    )


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results and pages of made-up models; the throughput is the project's."""
    folder = tmp_path_factory.mktemp("evidence")
    models = [made_up_model(name, (0.2, 0.6, 1.0)) for name in CASCADES.values()]
    models += [
        made_up_model(name, (0.3 * stage,), costs=(COSTS[stage - 1],))
        for stage, name in STATICS.items()
    ]
    given = given_in(folder)
    publish_figures({one.name: one for one in models}, given)
    copy(result_file(ROOT / "benchmarks" / "results", "throughput"), given.results)
    given.docs.mkdir()
    for name in PAGES:
        copy(ROOT / "docs" / name, given.docs)
    page(given)
    return folder


def test_the_pages_of_the_project_have_the_figures_of_its_results() -> None:
    given = given_in(ROOT, check=True)
    given.results = ROOT / "benchmarks" / "results"
    page(given)


def test_results_name_the_models_and_pictures_without_the_places_of_this_machine(
    evidence: Path,
) -> None:
    results = read_results(evidence / "results", "savings")
    assert results["models"]["short/cascade"] == "digest of short/cascade"
    assert [one["name"] for one in results["test"]] == ["test.parquet"]
    assert {"commit", "hardware", "threads", "versions"} <= results.keys()
    assert str(evidence) not in json.dumps(results)
    assert [one["stage"] for one in results["savings"]] == [1, 2, 3]


def test_pages_are_up_to_date_once_written_and_outdated_after_other_results(
    evidence: Path, tmp_path: Path
) -> None:
    page(given_in(evidence, check=True))
    for part in ("docs", "results"):
        (tmp_path / part).mkdir()
        for file in (evidence / part).iterdir():
            copy(file, tmp_path / part)
    changed = result_file(tmp_path / "results", "curves")
    results = json.loads(changed.read_text(encoding="utf-8"))
    results["schedules"]["short"]["points"][0]["accuracy"] = 0.123  # only the chart shows it
    changed.write_text(json.dumps(results), encoding="utf-8")
    with pytest.raises(UsageError, match=rf"out of date are {CHART}"):
        page(given_in(tmp_path, check=True))


@pytest.mark.parametrize(
    ("held_out", "on_test", "words"),
    [
        (None, None, "does **not** reach the accuracy"),
        (1.7, 1.7, "The goal of 1.6× is reached."),
        (1.7, 1.5, "is reached **only** with thresholds chosen on held-out images"),
        (1.5, None, "The goal of 1.6× is **not** reached."),
    ],
)
def test_the_verdict_follows_the_savings(
    evidence: Path, held_out: float | None, on_test: float | None, words: str
) -> None:
    results = read_results(evidence / "results", "savings")
    pair = results["savings"][-1]
    for way, value in (("held_out", held_out), ("equal_on_test", on_test)):
        pair[way]["saving"] = value and {"value": value, "low": 1.0, "high": 2.0}
    assert words in BLOCKS["verdict"].text(results)


def test_models_with_different_held_out_pictures_are_not_compared(tmp_path: Path) -> None:
    models = (made_up_model("a", (0.5,), costs=(1.0,)), made_up_model("b", (0.5,), seed=7))
    with pytest.raises(UsageError, match="a, b have different held-out images"):
        publish_figures({one.name: one for one in models}, given_in(tmp_path))


def test_a_page_without_one_of_its_blocks_is_refused(tmp_path: Path) -> None:
    blocks = {"one": Block("curves", str), "other": Block("curves", str)}
    with pytest.raises(UsageError, match=r"blocks one, other once \(got one\)"):
        filled("<!-- begin one -->\n<!-- end one -->", blocks, tmp_path)


def test_missing_results_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"results: cannot read .*evidence-curves\.json"):
        read_results(tmp_path, "curves")
