"""Rows that were lost from a finished or unfinished output are computed again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

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
