"""Files that are no pictures in the tables: how they move, and which of several rows counts."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.errors import Reason
from pipeline.output.ledger import Ledger
from pipeline.output.verify import verify_output
from pipeline.records import ImageRecord
from pipeline.sources.sharding import Shard
from tests.command_line import rows as rows_by_duckdb
from tests.pipeline.output.fake_run import GMACS
from tests.pipeline.output.fake_tagging import run_job, shards_of
from tests.pipeline.output.killing import Killed, end_lease, killed_at
from tests.pipeline.output.tables import tables_in

TABLES = ("tags", "dead_letters", "other_files")


def keys_in(folder: Path, table: str) -> set[str]:
    return {row["key"] for row in rows_by_duckdb(folder / table)}


def test_a_shard_with_other_files_is_finished_and_a_retry_leaves_them_alone(
    tmp_path: Path,
) -> None:
    run_job(tmp_path, shards_of(), 0.2, "first", {"d9"}, others={"e9", "h5"})
    assert (tmp_path / "_SUCCESS").exists()
    counts = [
        (row["num_images"], row["num_tagged"], row["num_dead_letters"], row["num_other_files"])
        for row in rows_by_duckdb(tmp_path / "shards", "SELECT * FROM t ORDER BY first_key")
    ]
    assert counts == [(5, 3, 1, 1), (4, 3, 0, 1)]
    for retry in ((Reason.FETCH_FAILED,), None):
        done, ledger = run_job(tmp_path, shards_of(), 0.2, "again", set(), retry)
        assert done == (["d9"] if retry else [])
        assert ledger.totals.all_runs.num_other_files == 2
    assert keys_in(tmp_path, "other_files") == {"e9", "h5"}
    assert verify_output(tmp_path).problems == ()


@pytest.mark.parametrize("kill_at", range(0, 48, 4))
def test_a_dead_letter_found_to_be_no_picture_moves_through_any_kill(
    tmp_path: Path, kill_at: int
) -> None:
    """Wherever the retry dies, neither it nor the next run does the file a third time."""
    run_job(tmp_path, shards_of(), 0.2, "first", {"d9", "h5"})
    with killed_at(kill_at):
        try:
            run_job(
                tmp_path, shards_of(), 0.2, "retry", set(), (Reason.FETCH_FAILED,), others={"d9"}
            )
        except Killed:
            end_lease(tmp_path)
    done, _ = run_job(
        tmp_path, shards_of(), 0.2, "calm", set(), (Reason.FETCH_FAILED,), others={"d9"}
    )
    assert set(done) <= {"d9", "h5"}
    run_job(tmp_path, shards_of(), 0.2, "whole", set(), others={"d9"})
    assert [len(keys_in(tmp_path, table)) for table in TABLES] == [8, 0, 1]
    assert verify_output(tmp_path).problems == ()
    assert (tmp_path / "_SUCCESS").exists()


@pytest.mark.parametrize(
    ("etag_of", "etag", "is_to_do"),
    [
        ({"other_files": "e"}, "e", False),
        ({"other_files": "e"}, "f", True),
        ({"other_files": "e"}, None, False),
        # Rows that a crash has left: the newer one counts, or none if that is not certain.
        ({"dead_letters": "e", "other_files": "e"}, "e", False),
        ({"tags": "e", "other_files": "f"}, "e", False),
        ({"tags": "e", "other_files": "f"}, "f", False),
        ({"tags": "e", "other_files": "f"}, None, True),
        ({"dead_letters": "e", "other_files": "f"}, None, True),
    ],
)
def test_the_row_of_this_content_counts(
    tmp_path: Path, etag_of: dict[str, str], etag: str | None, is_to_do: bool
) -> None:
    tables = tables_in(tmp_path, 1)
    for name, of_row in etag_of.items():
        table = tables.by_name[name]
        row = {"key": "a", "etag": of_row, "shard": "s", "gmacs": 1.0, "exit_stage": 1}
        row = {column: value for column, value in row.items() if column in table.schema.names}
        row |= {"exit_confidences": [0.9]} if name == "tags" else {}
        table.commit([table.writer.write(pa.Table.from_pylist([row], table.schema))], 0.0)
    ledger = Ledger(tables_in(tmp_path, 2), GMACS, "run")
    _, rows = ledger.open(Shard("s", (ImageRecord("a", "file:///a", 1, etag),)))
    assert rows.tolist() == ([0] if is_to_do else [])
    ledger.commit(None, [], {})
    left = [name for name in TABLES if tables_in(tmp_path, 3).by_name[name].num_rows]
    counts = [name for name in left if etag_of[name] == etag] or left
    assert left == (list(etag_of) if is_to_do else counts[-1:])
