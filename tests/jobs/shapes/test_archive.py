"""Archives do not depend on how they are written, and their truth table is correct."""

import hashlib
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.shapes import CLASSES, WrittenArchive, render, write_shapes
from jobs.shapes.damage import DAMAGES
from jobs.shapes.files import ArchiveSettings


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> WrittenArchive:
    out = tmp_path_factory.mktemp("shapes") / "archive"
    return write_shapes(out, 46, seed=4, damaged=14, processes=1)


def test_truth_matches_the_files(archive: WrittenArchive) -> None:
    rows = pq.read_table(archive.truth).to_pylist()
    assert [row["key"] for row in rows] == sorted(digests(archive.images))
    assert len(rows) == 60
    for number, row in enumerate(rows):
        assert row["key"].startswith(f"000/{number:07d}.")
        if row["expected_reason"] is not None:
            assert row["damage"] is not None
            assert row["label"] is None
            continue
        with Image.open(archive.images / row["key"]) as image:
            image.load()
            assert image.size == (row["width"], row["height"])
        sample = render(4, number, row["width"], row["height"])
        assert CLASSES[row["label_id"]] == row["label"] == sample.label


def test_damaged_files_are_of_all_kinds_and_spread_evenly(archive: WrittenArchive) -> None:
    rows = pq.read_table(archive.truth).to_pylist()
    kinds = Counter(row["damage"] for row in rows)
    assert kinds.pop(None) == 46
    assert kinds == {damage.name: 2 for damage in DAMAGES}
    numbers = [number for number, row in enumerate(rows) if row["damage"]]
    gaps = [after - before for before, after in pairwise(numbers)]
    assert max(gaps) <= 5
    reasons = {row["damage"]: row["expected_reason"] for row in rows}
    assert all(reasons[damage.name] == damage.expected_reason for damage in DAMAGES)


def test_intact_files_have_all_formats_and_both_orientations(archive: WrittenArchive) -> None:
    rows = [row for row in pq.read_table(archive.truth).to_pylist() if not row["damage"]]
    extensions = Counter(row["key"].rsplit(".")[-1] for row in rows)
    assert set(extensions) == {"jpg", "png", "webp"}
    assert extensions["jpg"] > len(rows) // 2
    assert {row["width"] > row["height"] for row in rows} == {True, False}


def test_files_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    for processes in (1, 2):
        out = tmp_path / str(processes)
        write_shapes(out, 115, size=(48, 36), damaged=7, processes=processes)
    assert digests(tmp_path / "1") == digests(tmp_path / "2")


def test_a_second_call_finds_the_archive_and_writes_nothing(tmp_path: Path) -> None:
    first = write_shapes(tmp_path / "out", 3, size=(48, 36), processes=1)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert write_shapes(tmp_path / "out", 3, size=(48, 36), processes=1) == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == times


def test_an_interrupted_archive_is_completed_by_the_same_call(tmp_path: Path) -> None:
    archive = write_shapes(tmp_path, 3, size=(48, 36), processes=1)
    whole = digests(tmp_path)
    archive.truth.unlink()
    next(archive.images.rglob("0000001.*")).unlink()
    write_shapes(tmp_path, 3, size=(48, 36), processes=1)
    assert digests(tmp_path) == whole


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    write_shapes(tmp_path, 2, size=(48, 36), processes=1)
    with pytest.raises(ValueError, match="other settings") as raised:
        write_shapes(tmp_path, 3, size=(48, 36), processes=1)
    assert "\n" not in str(raised.value)


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="something else"):
        write_shapes(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_values_out_of_bounds_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"num_images: must be at least 0 \(got -1\)"):
        write_shapes(out, -1)
    with pytest.raises(ValueError, match=r"at least 16 pixels per side \(got 8x8\)"):
        write_shapes(out, 1, size=(8, 8))
    assert not out.exists()


def test_an_archive_may_be_empty(tmp_path: Path) -> None:
    archive = write_shapes(tmp_path / "out", 0)
    assert pq.read_table(archive.truth).num_rows == 0


@pytest.mark.parametrize(("good", "bad"), [(0, 5), (5, 0), (1, 1), (1000, 1), (97, 31)])
def test_every_damaged_file_has_exactly_one_number(good: int, bad: int) -> None:
    settings = ArchiveSettings(good, 0, None, bad)
    drawn = [settings.damage_number(number) for number in range(good + bad)]
    assert [number for number in drawn if number is not None] == list(range(bad))
