"""`dvt verify` finds each kind of damage, and nothing in a sound output."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli import run
from pipeline.errors import UsageError
from pipeline.output.layout import OVERWRITING, Output
from pipeline.output.verify import verify_output
from tests.pipeline.output.fake_run import run_file
from tests.pipeline.output.fake_tagging import tag
from tests.pipeline.output.tables import tables_in


def the_file(folder: Path) -> Path:
    (found,) = (folder / name for name in tables_in(folder.parent, 9)[0].log.file_names())
    return found


def remove(folder: Path) -> None:
    the_file(folder / "tags").unlink()


def cut(folder: Path) -> None:
    path = the_file(folder / "tags")
    path.write_bytes(path.read_bytes()[:-10])


def flip(folder: Path) -> None:
    path = the_file(folder / "tags")
    content = bytearray(path.read_bytes())
    content[60] ^= 255
    path.write_bytes(content)


def add_rows(folder: Path, name: str, *keys: str) -> None:
    table = tables_in(folder, 9).by_name[name]
    rows = pa.Table.from_pylist([{"key": key} for key in keys], schema=table.schema)
    table.commit([table.writer.write(rows)], 1.0)


def repeat_a_tag(folder: Path) -> None:
    add_rows(folder, "tags", "b9")


def repeat_in_the_other_table(folder: Path) -> None:
    add_rows(folder, "dead_letters", "b9")


def empty_logs(folder: Path) -> None:
    for log in sorted((folder / "dead_letters" / "_delta_log").glob("*.json"))[2:]:
        log.write_bytes(b"")


def empty_success(folder: Path) -> None:
    (folder / "_SUCCESS").write_bytes(b"")


def change_summary(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_bytes())
    (folder / "summary.json").write_text(json.dumps(summary | {"tagged": 99}))


def begin_overwrite(folder: Path) -> None:
    (folder / OVERWRITING).touch()


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (remove, "tags: .*parquet: is missing"),
        (cut, "tags: .*parquet: has .* bytes, not"),
        (flip, "tags: .*parquet: "),
        (repeat_a_tag, "tags: b9 has 2 rows"),
        (repeat_in_the_other_table, "tags and dead_letters: b9 has 2 rows"),
        (empty_logs, "shards: counts 2 rows of dead_letters, which has 0"),
        (empty_logs, "_SUCCESS: dead_letters lost its last commits"),
        (empty_success, "_SUCCESS: cannot be read"),
        (change_summary, "summary.json: 99 tags, but shards count 7"),
        (begin_overwrite, "an --overwrite is unfinished"),
    ],
)
def test_every_damage_is_a_line_and_the_exit_code_is_1(
    tmp_path: Path, damage: Callable[[Path], None], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tag(tmp_path, 0.2, "first")
    assert run(["verify", str(tmp_path)]) == 0
    assert "no problems" in capsys.readouterr().out
    damage(tmp_path)
    assert run(["verify", str(tmp_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert any(
        pa.compute.match_substring_regex(pa.array([text]), f"^{line}")[0].as_py()
        for text in found["problems"]
    ), found["problems"]


def test_a_running_run_is_not_verified(tmp_path: Path) -> None:
    output = Output(tmp_path)
    output.claim(run_file(), overwrite=False)
    with pytest.raises(UsageError, match="a run is writing to"):
        verify_output(tmp_path)
    output.release()
    assert verify_output(tmp_path).problems == ()


def test_verify_reads_every_page_of_a_sound_file(tmp_path: Path) -> None:
    tag(tmp_path, 0.2, "first")
    metadata = pq.ParquetFile(the_file(tmp_path / "tags")).metadata
    assert metadata.num_rows == 7
    rows = {"tags": 7, "dead_letters": 2, "other_files": 0, "shards": 2}
    assert verify_output(tmp_path).rows == rows
