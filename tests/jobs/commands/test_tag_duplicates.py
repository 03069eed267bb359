"""Images with identical bytes are computed once, and every other column is as without."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from jobs.shapes import write_shapes
from tests.command_line import SHAPES, dvt, rows, succeeded

pytestmark = pytest.mark.usefixtures("ray_session")

NUM_IMAGES, NUM_COPIED = 200, 100
_COLUMNS = "key, uri, label, label_id, top_labels, exit_stage, width, height, confidence, gmacs"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A third of the files are copies of others, far from them and near; so of broken ones."""
    made = write_shapes(tmp_path / "a", NUM_IMAGES, seed=21, size=(96, 80), damaged=7)
    truth = pq.read_table(made.truth, columns=["key", "damage"]).sort_by("key").to_pylist()
    for number, file in enumerate(truth):
        if file["damage"] or number < NUM_COPIED:
            path = made.images / file["key"]
            is_far = number % 2 == 0
            name = f"zz-{number}-{path.name}" if is_far else f"{path.stem}-copy{path.suffix}"
            shutil.copy(path, (made.images if is_far else path.parent) / name)
    return made.images


def tags(out: Path) -> dict[str, dict[str, Any]]:
    found = rows(out / "tags", f"SELECT {_COLUMNS} FROM t")
    assert len({row["key"] for row in found}) == len(found)
    return {row["key"]: row for row in found}


def letters(out: Path) -> list[dict[str, Any]]:
    return rows(out / "dead_letters", "SELECT key, reason, detail FROM t ORDER BY key")


def test_with_a_third_of_copies_all_is_as_without_but_what_they_cost(
    archive: Path, tmp_path: Path
) -> None:
    plain, out = tmp_path / "plain", tmp_path / "out"
    tag = ("tag", *SHAPES, archive, "--pools", "1 | 2-3", "--out")
    succeeded(dvt(*tag, plain))
    done = succeeded(dvt(*tag, out, "--dedupe", "--json"))
    expected, got = tags(plain), tags(out)
    assert got.keys() == expected.keys()
    for key, row in got.items():
        wanted = expected[key]
        assert row.pop("confidence") == pytest.approx(wanted["confidence"], abs=1e-5)
        assert {**row, "gmacs": 0} == {
            name: value for name, value in {**wanted, "gmacs": 0}.items() if name != "confidence"
        }
    paid = [key for key, row in got.items() if row["gmacs"] > 0]
    assert len({(archive / key).read_bytes() for key in got}) == len(paid)
    assert all(got[key]["gmacs"] == expected[key]["gmacs"] for key in paid)
    num_free = len(got) - len(paid)
    assert num_free >= NUM_COPIED - 7
    assert letters(out) == letters(plain)
    assert len(letters(out)) >= 8
    spent = sum(row["gmacs"] for row in got.values())
    assert done.json["gmacs_per_image"] == pytest.approx(spent / len(got), rel=1e-5)
    shards = rows(
        out / "shards", "SELECT sum(gmacs) AS spent, sum(list_sum(copies)) AS free FROM t"
    )
    assert shards == [{"spent": pytest.approx(spent, rel=1e-5), "free": num_free}]
