"""Rows that were lost from a finished or unfinished output are computed again."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

from pipeline.errors import OutputFailedError
from pipeline.output.layout import Output
from tests.pipeline.output.fake_tagging import DEAD, KEYS, check_is_whole, tag

TAGGED = set(KEYS) - DEAD


def empty_last_logs(folder: Path) -> None:
    """As a power cut leaves files that were never synced."""
    for log in sorted((folder / "_delta_log").glob("*.json"))[2:]:
        log.write_bytes(b"")


def remove_a_file(folder: Path) -> None:
    newest = max(folder.glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()


@pytest.mark.parametrize("damage", [empty_last_logs, remove_a_file, shutil.rmtree])
@pytest.mark.parametrize(
    ("table", "lost"), [("tags", TAGGED), ("dead_letters", DEAD), ("shards", set[str]())]
)
@pytest.mark.parametrize("is_finished", [True, False])
def test_a_damaged_table_is_completed_by_the_next_run(
    tmp_path: Path,
    damage: Callable[[Path], None],
    table: str,
    lost: set[str],
    is_finished: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tag(tmp_path, 0.2, "first")
    if not is_finished:
        (tmp_path / "_SUCCESS").unlink()
    damage(tmp_path / table)
    done, _ = tag(tmp_path, 0.2, "second")
    assert set(done) == lost
    if table != "shards" or is_finished or damage is remove_a_file:
        assert len([line for line in caplog.messages if "the output is damaged" in line]) == 1
    check_is_whole(tmp_path, 0.2)
    caplog.clear()
    assert tag(tmp_path, 0.2, "third")[0] == []
    assert not caplog.messages


def test_success_is_not_written_over_missing_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They vanish while the run works."""
    merge_files = Output.merge_files

    def merge_and_lose(output: Output) -> None:
        merge_files(output)
        for path in (tmp_path / "tags").glob("*.parquet"):
            path.unlink()

    with monkeypatch.context() as patch:
        patch.setattr(Output, "merge_files", merge_and_lose)
        with pytest.raises(OutputFailedError, match=r"is missing in .*tags"):
            tag(tmp_path, 0.2, "first")
    assert not (tmp_path / "_SUCCESS").exists()
    assert set(tag(tmp_path, 0.2, "second")[0]) == TAGGED
    check_is_whole(tmp_path, 0.2)


def test_every_commit_is_on_the_disk_before_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr("pipeline.storage.local_output._sync", synced.append)
    commit = DeltaTable.create_write_transaction
    logs = set[Path]()

    def checked(delta: DeltaTable, *arguments: Any, **options: Any) -> None:
        assert logs <= set(synced)
        commit(delta, *arguments, **options)
        logs.update(tmp_path.glob("*/_delta_log/*.json"))

    monkeypatch.setattr(DeltaTable, "create_write_transaction", checked)
    tag(tmp_path, 0.2, "first")
    assert len(logs) > 10
    assert logs <= set(synced)
    assert {path.parent for path in logs} <= set(synced)
