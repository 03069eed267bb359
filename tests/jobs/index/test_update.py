"""An index follows the versions of its output."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.made_up_tags import MadeUpOutput, made_up_keys
from jobs.index import update
from jobs.index.lance_table import open_table
from jobs.index.state import read_state, write_state
from jobs.index.update import IndexReport, update_index
from pipeline.errors import OutputFailedError, UsageError
from pipeline.storage import open_output_store
from tests.command_line import dvt, rows, succeeded

KEYS = made_up_keys(1200)
COLUMNS = ("key", "label", "confidence", "camera", "groups")


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "_ROWS_PER_RANGE", 200)
    monkeypatch.setattr(update, "_CHANGES_PER_RANGE", 100)


def refreshed(out: MadeUpOutput, index: Path, **options: Any) -> IndexReport:
    """Updates the index and compares it with the rows that DuckDB finds in `tags`."""
    report = update_index(out.folder, index, "lancedb", **options)
    assert_equal(out, index)
    assert report.documents == report.tags == out.tags.num_rows
    return report


def assert_equal(out: MadeUpOutput, index: Path) -> None:
    found = open_table(open_output_store(index)).search().limit(10**6).to_list()
    tags = rows(out.folder / "tags")
    wanted = {row["key"]: row for row in tags}
    assert len(found) == len(wanted) == len(tags)
    for row in found:
        tag = wanted[row["key"]]
        assert {name: row[name] for name in COLUMNS} == {name: tag[name] for name in COLUMNS}
        if tag.get("embedding"):
            np.testing.assert_allclose(row["vector"], tag["embedding"], atol=1e-3)


def test_an_index_follows_what_is_added_changed_and_removed(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[:800])
    first = refreshed(out, tmp_path / "index")
    assert (first.written, first.removed) == (800, 0)
    assert first.recall_at_10 == 1.0
    out.write(KEYS[700:1000], generation=1)
    out.remove(KEYS[:60])
    second = refreshed(out, tmp_path / "index")
    assert (second.written, second.removed) == (300, 60)
    out.merge_files()
    third = refreshed(out, tmp_path / "index")
    assert (third.written, third.removed) == (0, 0)
    assert third.version > second.version


def test_documents_have_words_folders_and_sizes(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[:100])
    refreshed(out, tmp_path / "index")
    table = open_table(open_output_store(tmp_path / "index"))
    for row in table.search().limit(100).to_list():
        assert row["words"] == [row["label"], *row["groups"]]
        assert row["folder"] == row["key"].rpartition("/")[0]
        assert row["size_bytes"] >= 100_000
        assert len(row["vector"]) == 64


def test_versions_whose_files_are_gone_are_compared_row_by_row(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[:600])
    refreshed(out, tmp_path / "index")
    gone = out.tags.log.file_names()
    out.write(KEYS[300:900], generation=1)
    out.remove(KEYS[:20])
    out.tags.store.delete(gone)
    refreshed(out, tmp_path / "index")


def test_an_output_made_anew_at_the_same_place_is_compared_row_by_row(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[:600])
    refreshed(out, tmp_path / "index")
    (tmp_path / "out").rename(tmp_path / "old")
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[500:700], generation=2)
    refreshed(out, tmp_path / "index")
    moved = tmp_path / "moved"
    (tmp_path / "out").rename(moved)
    out = MadeUpOutput(moved, epoch=2)
    out.write(KEYS[:10])
    assert refreshed(out, tmp_path / "index").written == 10


@pytest.mark.parametrize("num_writes", [1, 2, 3])
def test_a_call_that_ended_at_a_write_of_its_state_is_completed_by_the_next(
    tmp_path: Path, num_writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[:300])
    refreshed(out, tmp_path / "index")
    shutil.rmtree(out.folder)
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[200:600])
    written = []

    def write(*arguments: Any) -> None:
        write_state(*arguments)
        written.append(arguments)
        if len(written) == num_writes:
            raise OutputFailedError("to: no space")

    with monkeypatch.context() as patch:
        patch.setattr(update, "write_state", write)
        with pytest.raises(OutputFailedError):
            update_index(out.folder, tmp_path / "index", "lancedb")
    refreshed(out, tmp_path / "index")


def test_an_output_without_embeddings_gives_an_index_of_words(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out", width=0)
    out.write(KEYS[:50])
    done = succeeded(dvt("index", out.folder, "--to", tmp_path / "index", "--json"))
    assert "has no embeddings: an index of words only" in done.err
    assert (done.json["documents"], done.json["vectors"]) == (50, {})
    assert done.json["recall_at_10"] is None
    assert_equal(out, tmp_path / "index")


def test_new_columns_build_the_index_anew(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out", width=0)
    out.write(KEYS[:50])
    refreshed(out, tmp_path / "index")
    (tmp_path / "out").rename(tmp_path / "old")
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[:60])
    report = refreshed(out, tmp_path / "index")
    assert (report.written, report.vectors) == (60, {"embedding": 64})


def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[:50])
    refreshed(out, tmp_path / "index")
    (tmp_path / "out").rename(tmp_path / "old")
    out = MadeUpOutput(tmp_path / "out", model="d2")
    out.write(KEYS[:50])
    done = dvt("index", out.folder, "--to", tmp_path / "index")
    assert done.code == 2
    assert "its vectors are of the model d2, those of" in done.err
    assert len(done.err.splitlines()) == 1
    refreshed(out, tmp_path / "index", overwrite=True)


def test_a_place_that_is_no_index_of_this_output_is_refused(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[:5])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is not empty and no index of dvt"):
        update_index(out.folder, tmp_path / "full", "lancedb")
    refreshed(out, tmp_path / "index")
    other = MadeUpOutput(tmp_path / "other")
    other.write(KEYS[:5])
    with pytest.raises(UsageError, match=r"is an index of .*out; choose another --to"):
        update_index(other.folder, tmp_path / "index", "lancedb")
    with pytest.raises(UsageError, match="is no output of dvt"):
        update_index(tmp_path / "full", tmp_path / "new", "lancedb")


def test_a_second_call_at_the_same_time_is_refused(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[:50])

    def second_call(*_: object) -> None:
        update_index(out.folder, tmp_path / "index", "lancedb")

    with pytest.raises(UsageError, match="another dvt index is writing to"):
        update_index(out.folder, tmp_path / "index", "lancedb", listener=second_call)
    refreshed(out, tmp_path / "index")


def test_a_wrong_count_is_reported_and_mended_by_the_next_call(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[:50])
    refreshed(out, tmp_path / "index")
    open_table(open_output_store(tmp_path / "index")).delete(f"key = '{KEYS[7]}'")
    done = dvt("index", out.folder, "--to", tmp_path / "index")
    assert done.code == 1
    assert "49 documents; tags has 50 rows" in done.out
    assert refreshed(out, tmp_path / "index").documents == 50


def test_a_call_that_failed_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS)
    index = tmp_path / "index"
    calls = []

    def stop(num_rows: int, total: int | None, seconds: float) -> None:
        calls.append(total)
        if len(calls) == 4:
            raise OutputFailedError("stop")

    with pytest.raises(OutputFailedError):
        update_index(out.folder, index, "lancedb", listener=stop)
    assert set(calls) == {1200}
    state = read_state(open_output_store(index))
    assert state is not None
    assert state.pending is not None
    assert state.pending.num_parts == 3  # the fourth range was applied, but is not recorded
    out.remove(KEYS[:40])
    out.write(KEYS[30:35], generation=3)
    report = refreshed(out, index)
    assert 0 < report.written < 1200


def test_a_damaged_state_needs_overwrite(tmp_path: Path) -> None:
    out = MadeUpOutput(tmp_path / "out")
    out.write(KEYS[:20])
    refreshed(out, tmp_path / "index")
    (tmp_path / "index" / "index.json").write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match=r"index.json in .* is damaged"):
        update_index(out.folder, tmp_path / "index", "lancedb")
    assert refreshed(out, tmp_path / "index", overwrite=True).written == 20
