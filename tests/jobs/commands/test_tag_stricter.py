"""Stricter thresholds on the same output do again exactly the tags below them, also after a kill.

What a run left untouched is told from what it wrote by a mark in a column, put there in between.
"""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest
from deltalake import DeltaTable

from jobs.report.collect import build_report
from jobs.shapes import WrittenArchive
from pipeline.output.status import read_status
from tests.command_line import DVT, committed_files, dvt, rows

pytestmark = pytest.mark.timeout(900)  # several runs, each with a Ray of its own

_COLUMNS = "* EXCLUDE (uri)"
_LOOSE = (0.3, 0.3)


def tag_command(images: Path, out: Path, thresholds: Path | None) -> list[str]:
    how = ["--full-depth"] if thresholds is None else ["--thresholds", str(thresholds)]
    return ["tag", str(images), "--out", str(out), "--model", "shapes", *how, "--json"]


def written(path: Path, thresholds: tuple[float, ...]) -> Path:
    path.write_text(json.dumps(thresholds), encoding="utf-8")
    return path


def mark(out: Path) -> None:
    """Marks every row that is there."""
    DeltaTable(out / "tags").update({"uri": "'marked'"})


def unmarked(out: Path) -> set[str]:
    return {row["key"] for row in rows(out / "tags", "SELECT key FROM t WHERE uri != 'marked'")}


def differences(out: Path, other: Path) -> int:
    """Rows that are in one of two tables of tags only."""
    with duckdb.connect() as connection:
        for name, folder in (("a", out), ("b", other)):
            connection.read_parquet(committed_files(folder / "tags")).create_view(name)
        found = connection.execute(
            f"SELECT count(*) FROM ((SELECT {_COLUMNS} FROM a EXCEPT ALL SELECT {_COLUMNS} FROM b) "
            f"UNION ALL (SELECT {_COLUMNS} FROM b EXCEPT ALL SELECT {_COLUMNS} FROM a))"
        ).fetchall()
    return int(found[0][0])


def kill_in_the_middle(command: list[str], out: Path) -> None:
    """SIGKILL to a run and its Ray once it has committed something."""
    process = subprocess.Popen(
        [DVT, *command], start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 400
        while not unmarked(out) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_stricter_run_killed_and_run_again_gives_the_tables_of_a_fresh_one(
    archive_5000: WrittenArchive, tmp_path: Path
) -> None:
    images, out, fresh = archive_5000.images, tmp_path / "out", tmp_path / "fresh"
    loose = written(tmp_path / "loose.json", _LOOSE)
    first = dvt(*tag_command(images, out, loose))
    assert first.code == 0, first.err
    # The threshold is one of the confidences, so that one image is exactly at it.
    early = rows(out / "tags", "SELECT key, exit_confidences[1] AS sure FROM t WHERE exit_stage=1")
    bound = float(np.sort([row["sure"] for row in early])[int(0.8 * len(early))])
    to_do = {row["key"] for row in early if row["sure"] < bound}
    assert 3000 < len(to_do) < 4900
    stricter = written(tmp_path / "stricter.json", (bound, 0.9))
    at_second = "SELECT key FROM t WHERE exit_stage = 2 AND exit_confidences[2] < 0.9::FLOAT"
    to_do |= {row["key"] for row in rows(out / "tags", at_second)}

    mark(out)
    kill_in_the_middle(tag_command(images, out, stricter), out)
    done = unmarked(out)
    assert set() < done < to_do, "the kill must fall into the middle of the retag run"
    assert not read_status(out).finished
    assert "previous, looser thresholds: 0.3 / 0.3" in build_report(out).notice

    second = dvt(*tag_command(images, out, stricter))
    assert second.code == 0, second.err
    assert "previous, looser thresholds (0.3 / 0.3, now " in second.err
    assert unmarked(out) == to_do
    num_left = len(to_do - done)
    assert (second.json["tagged"], second.json["skipped"]) == (num_left, 5000 - num_left)
    assert (second.json["retagged"], second.json["tagged_before"]) == (num_left, 5000)
    assert f"{num_left:,} of 5,000 earlier tags exited below the new thresholds" in second.err
    assert read_status(out).finished

    assert dvt(*tag_command(images, fresh, stricter)).code == 0
    assert differences(out, fresh) == 0
    totals, wanted = (json.loads((p / "summary.json").read_bytes()) for p in (out, fresh))
    for name in ("images", "tagged", "dead_letters", "exits", "gmacs_per_image"):
        assert totals[name] == wanted[name]

    looser = dvt(*tag_command(images, out, loose))
    assert looser.code == 2
    assert ", not 0.3 / 0.3, looser at exit 1; pass the same or stricter" in looser.err
    assert len(looser.err.splitlines()) == 1

    mark(out)
    before_last = {r["key"] for r in rows(out / "tags", "SELECT key FROM t WHERE exit_stage < 3")}
    assert dvt(*tag_command(images, out, None)).code == 0
    assert unmarked(out) == before_last
    stages = rows(out / "tags", "SELECT exit_stage, count(*) AS n FROM t GROUP BY exit_stage")
    assert stages == [{"exit_stage": 3, "n": 5000}]
