"""`dvt index` is killed at random moments while its output grows and shrinks."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.made_up_tags import MadeUpOutput, made_up_keys
from jobs.index.lance_table import open_table
from jobs.index.update import update_index
from pipeline.storage import open_output_store
from tests.command_line import rows

# As a process of its own, with small ranges and without the seconds of imports under the clock.
INDEX = """
import sys
from jobs.index import update
update._ROWS_PER_RANGE, update._CHANGES_PER_RANGE = 300, 150
import lancedb
print("ready", flush=True)
update.update_index(sys.argv[1], sys.argv[2], "lancedb")
"""


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("num_kills", [4, pytest.param(20, marks=pytest.mark.night)])
def test_the_index_has_exactly_the_keys_of_tags_after_kills(tmp_path: Path, num_kills: int) -> None:
    seed = random.SystemRandom().randrange(10**6) if num_kills > 4 else 5
    print(f"seed {seed}")
    some = random.Random(seed)
    out, index = MadeUpOutput(tmp_path / "out", width=8), tmp_path / "index"
    keys = made_up_keys(6000)
    out.write(keys[:2000])
    present = set(keys[:2000])
    longest_s = 2.0
    num_killed = 0
    while num_killed < num_kills:
        command = [sys.executable, "-c", INDEX, str(out.folder), str(index)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        started = time.monotonic()
        until_s = started + some.uniform(0.0, longest_s)
        while time.monotonic() < until_s and process.poll() is None:
            change(out, keys, present, some)
        if process.poll() is None:
            process.kill()
            num_killed += 1
        else:
            longest_s = 0.9 * (time.monotonic() - started)
            assert process.returncode == 0
        process.wait()
        process.stdout.close()
    report = update_index(out.folder, index, "lancedb")
    table = open_table(open_output_store(index))
    found = table.search().select(["key", "label"]).limit(10**6).to_list()
    wanted = {row["key"]: row["label"] for row in rows(out.folder / "tags")}
    assert set(wanted) == present
    assert sorted((row["key"], row["label"]) for row in found) == sorted(wanted.items())
    assert report.documents == report.tags == len(present)


def change(out: MadeUpOutput, keys: list[str], present: set[str], some: random.Random) -> None:
    """One commit: some rows added, replaced or removed, or files merged."""
    kind = some.random()
    chosen = some.sample(keys, 150)
    if kind < 0.4:
        new = [key for key in chosen if key not in present]
        out.write(new)
        present.update(new)
    elif kind < 0.6:
        out.write([key for key in chosen if key in present], generation=some.randrange(1, 10**6))
    elif kind < 0.85:
        out.remove(chosen)
        present.difference_update(chosen)
    else:
        out.merge_files()
