"""Standard streams that are closed or full, and names that hold terminal escapes."""

import logging
import subprocess
from pathlib import Path

from pipeline.logs import VisibleFormatter
from tests.command_line import DVT


def shapes(out: Path, redirections: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'exec "$0" shapes "$1" --num-images 3 {redirections}', DVT, out],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_closed_streams_change_neither_the_result_nor_the_exit_code(tmp_path: Path) -> None:
    done = shapes(tmp_path / "a", ">&- 2>&- <&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(list((tmp_path / "a" / "images").rglob("*.*"))) == 3


def test_a_full_standard_output_is_one_line(tmp_path: Path) -> None:
    done = shapes(tmp_path / "a", "> /dev/full")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == "dvt: standard output: No space left on device; the job itself is finished"
    assert "Traceback" not in done.stderr


def test_a_log_line_passes_on_no_control_character() -> None:
    record = logging.makeLogRecord(
        {"msg": "gave up %s: %s", "args": ("a\x1b]0;owned\x07.jpg", "two\nlines"), "levelno": 30}
    )
    line = VisibleFormatter("%(message)s").format(record)
    assert line == r"gave up a\u{001b}]0;owned\u{0007}.jpg: two\u{000a}lines"
