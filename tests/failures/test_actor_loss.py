"""Actors that are killed during the run, one after another."""

import re
import time
from pathlib import Path

from tests.command_line import SHAPES
from tests.failures.random_kills import sorted_table
from tests.processes import kill, pids_of, running_dvt, wait_for_rows
from tests.ray_session import Tagged


def test_killing_every_kind_of_actor_changes_no_byte_of_the_table(
    tagged: Tagged, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with running_dvt("tag", *SHAPES, tagged.archive.images, "--out", out) as process:
        wait_for_rows(out, process)
        killed = set()
        for kind in ("DecodeActor", "CascadeActor", "WriteActor"):
            killed |= {kind for pid in pids_of(f"ray::{kind}", process.pid) if kill(pid)}
            time.sleep(0.5)
        _, log = process.communicate(timeout=250)
    assert process.returncode == 0, log
    assert killed >= {"DecodeActor", "CascadeActor"}, "the kills must fall into the run"
    assert re.search(r"lost pool 1-3 #\d+ \(.*\): \d+ images in \d+ blocks go to", log)
    assert sorted_table(out) == sorted_table(tagged.out)
