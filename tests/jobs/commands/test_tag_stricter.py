"""Stricter thresholds replace exactly the tags that exited too early, also across a kill.

A mark in a column tells the rows that a run left untouched from those that it wrote.
"""

import json
import shutil
import time
from pathlib import Path

import duckdb
import numpy as np
import pytest
from deltalake import DeltaTable

from jobs.report.collect import build_report
from pipeline.output.status import read_status
from tests.command_line import SHAPES, committed_files, dvt, rows, succeeded
from tests.processes import running_dvt
from tests.ray_session import Tagged

_COLUMNS = "* EXCLUDE (uri)"
_DEFAULT = "0.9561 / 0.6633"


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


def kill_in_the_middle(command: tuple[object, ...], out: Path) -> None:
    """Kills a run and its Ray once it has replaced tags."""
    with running_dvt(*command) as process:
        deadline = time.monotonic() + 200
        while not unmarked(out):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.usefixtures("ray_session")
def test_a_stricter_run_killed_and_run_again_gives_the_tables_of_a_fresh_one(
    tagged: Tagged, tmp_path: Path
) -> None:
    images, num_images = tagged.archive.images, tagged.archive.num_images
    out, fresh = shutil.copytree(tagged.out, tmp_path / "out"), tmp_path / "fresh"
    # The threshold is one of the confidences, so that one image is exactly at it.
    early = rows(out / "tags", "SELECT key, exit_confidences[1] AS sure FROM t WHERE exit_stage=1")
    bound = float(np.sort([row["sure"] for row in early])[int(0.8 * len(early))])
    to_do = {row["key"] for row in early if row["sure"] < bound}
    assert 0.5 * num_images < len(to_do) < 0.8 * num_images
    at_second = "SELECT key FROM t WHERE exit_stage = 2 AND exit_confidences[2] < 0.9::FLOAT"
    to_do |= {row["key"] for row in rows(out / "tags", at_second)}
    thresholds = tmp_path / "stricter.json"
    thresholds.write_text(json.dumps([bound, 0.9]), encoding="utf-8")
    stricter = ("tag", *SHAPES, images, "--thresholds", thresholds, "--json", "--out")

    mark(out)
    kill_in_the_middle((*stricter, out), out)
    done = unmarked(out)
    assert set() < done < to_do, "the kill must fall into the middle of the run"
    assert not read_status(out).finished
    assert f"previous, looser thresholds: {_DEFAULT}" in build_report(out).notice

    second = succeeded(dvt(*stricter, out))
    assert f"previous, looser thresholds ({_DEFAULT}, now " in second.err
    assert unmarked(out) == to_do
    num_left = len(to_do - done)
    assert (second.json["tagged"], second.json["skipped"]) == (num_left, num_images - num_left)
    assert (second.json["retagged"], second.json["tagged_before"]) == (num_left, num_images)
    assert f"{num_left:,} of {num_images:,} earlier tags exited below the new" in second.err
    assert read_status(out).finished

    succeeded(dvt(*stricter, fresh))
    assert differences(out, fresh) == 0
    totals, wanted = (json.loads((p / "summary.json").read_bytes()) for p in (out, fresh))
    for name in ("images", "tagged", "dead_letters", "exits", "gmacs_per_image"):
        assert totals[name] == wanted[name]

    looser = dvt("tag", *SHAPES, images, "--out", out)
    assert looser.code == 2
    assert f", not {_DEFAULT}, looser at exit 1; pass the same or stricter" in looser.err
    assert len(looser.err.splitlines()) == 1
