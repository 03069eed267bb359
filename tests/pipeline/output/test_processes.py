"""Runs in their own processes: killed, paused, started twice, and out of disk space."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pipeline.errors import UsageError
from pipeline.output.delta_log import open_delta
from pipeline.storage import open_output_store
from tests.pipeline.output.fake_run import exit_of, is_dead, listing, work

NUM_IMAGES = 320


def start(location: str, pause_s: float = 0.02, lease_s: float = 60) -> "subprocess.Popen[str]":
    arguments = [location, str(NUM_IMAGES), str(pause_s), str(lease_s)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.pipeline.output.fake_run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, list[str]]:
    """Exit code and lines of standard error."""
    _, stderr = process.communicate(timeout=120)
    return process.returncode, stderr.splitlines()


def rows_of(location: str, name: str, version: int | None = None) -> pa.Table:
    store = open_output_store(location).child(name)
    table = DeltaTable(store.uri, version=version, storage_options=store.delta_options)
    return table.to_pyarrow_table()


def num_tagged(location: str) -> int:
    delta = open_delta(open_output_store(location).child("tags"))
    if delta is None:
        return 0
    return sum(pa.table(delta.get_add_actions())["num_records"].to_pylist())


def wait_for_rows(location: str, process: "subprocess.Popen[str]", more_than: int = 0) -> None:
    deadline = time.monotonic() + 60
    while num_tagged(location) <= more_than:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def check_is_whole(location: str) -> None:
    """The output is that of an undisturbed run."""
    keys = [image.key for image in listing(NUM_IMAGES)]
    tags = rows_of(location, "tags").sort_by("key")
    assert tags["key"].to_pylist() == [key for key in keys if not is_dead(key)]
    assert tags["label"].to_pylist() == tags["key"].to_pylist()
    letters = rows_of(location, "dead_letters").sort_by("key")
    assert letters["key"].to_pylist() == [key for key in keys if is_dead(key)]
    shards = rows_of(location, "shards")
    assert sum(shards["num_images"].to_pylist()) == NUM_IMAGES
    assert len(set(shards["shard"].to_pylist())) == shards.num_rows
    store = open_output_store(location)
    summary: dict[str, Any] = json.loads(store.read("summary.json") or b"{}")
    stages = [exit_of(key) for key in tags["key"].to_pylist()]
    assert summary["exits"] == [stages.count(1), stages.count(2)]
    assert summary["dead_letters"] == letters.num_rows
    assert store.read("_SUCCESS") is not None


def test_after_kills_at_any_moment_the_tables_are_those_of_an_undisturbed_run(
    location: str,
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    moments = random.Random(seed)
    for _ in range(3):
        process = start(location)
        assert process.stdout is not None
        process.stdout.readline()  # it has claimed the output
        time.sleep(moments.uniform(0.0, 0.6))
        process.kill()
        process.communicate()
    work(location, NUM_IMAGES, pause_s=0.0)
    check_is_whole(location)
    tags = open_output_store(location).child("tags")
    delta = DeltaTable(tags.uri, storage_options=tags.delta_options)
    assert len(delta.file_uris()) == 1, "files are merged at the end"
    for version in range(max(0, delta.version() - 60), delta.version(), 7):
        keys = rows_of(location, "tags", version)["key"].to_pylist()
        assert len(keys) == len(set(keys))
    # Every file is in the log: uncommitted files of killed runs were deleted.
    known = set(delta.vacuum(retention_hours=0, enforce_retention_duration=False))
    known |= {uri.rpartition("/")[2] for uri in delta.file_uris()}
    assert {name for name in tags.names() if name.endswith(".parquet")} == known


def test_a_paused_run_stops_when_it_resumes_after_another_took_over(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Slow enough that it cannot finish before it is stopped, on a loaded machine too.
    first = start(location, pause_s=0.5, lease_s=1.5)
    wait_for_rows(location, first)
    first.send_signal(signal.SIGSTOP)
    before = num_tagged(location)
    time.sleep(2.6)

    def resume_first() -> None:
        """Once the second run has committed rows."""
        wait_for_rows(location, first, more_than=before)
        first.send_signal(signal.SIGCONT)

    monkeypatch.setattr("pipeline.output.lease._LEASE_S", 1.5)
    resumer = threading.Thread(target=resume_first)
    resumer.start()
    work(location, NUM_IMAGES, pause_s=0.1)
    resumer.join()
    code, lines = finish(first)
    assert code == 1
    assert len(lines) == 1
    assert "a later run has taken over" in lines[0]
    check_is_whole(location)


def test_of_two_runs_at_once_one_works_and_the_other_is_refused(location: str) -> None:
    first = start(location, pause_s=0.1)
    wait_for_rows(location, first)
    with pytest.raises(UsageError) as refused:
        work(location, NUM_IMAGES, pause_s=0.0)
    assert f"another run is writing to {location} (process {first.pid} on" in str(refused.value)
    assert finish(first) == (0, [])
    check_is_whole(location)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=140k", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_stops_the_run_in_one_line_without_corruption(small_disk: Path) -> None:
    out = str(small_disk / "out")
    code, lines = finish(start(out, pause_s=0.0))
    assert code == 1
    assert "no space is left on the device" in lines[-1]
    assert all("dvt:" not in line for line in lines[:-1])
    keys = rows_of(out, "tags")["key"].to_pylist()
    assert 0 < len(keys) == len(set(keys)) < NUM_IMAGES
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert finish(start(out, pause_s=0.0)) == (0, [])
    check_is_whole(out)


def test_a_read_only_output_is_refused_in_one_line(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    code, lines = finish(start(str(small_disk / "out")))
    assert code == 1
    assert len(lines) == 1
    assert "the file system is read-only" in lines[0]
