"""A run that is paused while another one takes over its output."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from jobs.shapes import WrittenArchive
from tests.command_line import SHAPES, committed_files, dvt, rows

# A lease of two seconds instead of a minute.
DVT_OF_SHORT_LEASE = (
    "import sys; import pipeline.output.lease as lease; lease._LEASE_S, lease._BEAT_S = 2.0, 0.2; "
    "from jobs.cli import run; sys.exit(run(sys.argv[1:]))"
)


def test_a_paused_run_that_was_replaced_stops_and_leaves_no_key_twice(
    archive_5000: WrittenArchive, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", DVT_OF_SHORT_LEASE, "tag", *SHAPES, str(archive_5000.images)]
    first = subprocess.Popen(
        [*command, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + 200
        while not (out / "tags" / "_delta_log").is_dir() or not committed_files(out / "tags"):
            assert first.poll() is None, first.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        first.send_signal(signal.SIGSTOP)
        time.sleep(3)
        second = subprocess.Popen(
            [*command, "--out", str(out), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        epochs = out / ".runs" / "00000002.json"
        while not epochs.exists():
            assert second.poll() is None, second.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(2)
        first.send_signal(signal.SIGCONT)
        _, log = first.communicate(timeout=120)
        assert first.returncode == 1, log
        assert "a later run has taken" in log.splitlines()[-1]
        assert "Traceback" not in log
        _, log = second.communicate(timeout=250)
        assert second.returncode == 0, log
    finally:
        first.kill()
    keys = [row["key"] for row in rows(out / "tags", "SELECT key FROM t")]
    assert len(keys) == len(set(keys)) == 5000
    assert dvt("status", out, "--json").json["finished"]
