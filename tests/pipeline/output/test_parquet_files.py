"""Files with columns that users pass through: dates, infinities, large texts."""

import math
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

import pipeline.output.parquet_files
from pipeline.errors import OutputFailedError
from pipeline.output import compaction
from pipeline.output.delta_table import OutputTable
from pipeline.output.layout import Output
from pipeline.runtime.actors.write import WriteActor
from pipeline.storage import open_output_store
from tests.pipeline.output.fake_run import run_file

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("day", pa.date32()),
        ("local", pa.timestamp("us")),
        ("moment", pa.timestamp("us", "UTC")),
        ("score", pa.float64()),
        ("nothing", pa.float64()),
        ("flag", pa.bool_()),
    ]
)
MOMENT = datetime(2026, 3, 12, 10, 15, 0, 678901)


def table_in(folder: Path, schema: pa.Schema) -> OutputTable:
    return OutputTable(open_output_store(folder), schema, 1, "run", "key")


def test_readers_find_rows_by_date_time_and_infinity(tmp_path: Path) -> None:
    table = table_in(tmp_path, SCHEMA)
    row = {
        "key": "a",
        "day": date(2026, 3, 12),
        "local": MOMENT,
        "moment": MOMENT.replace(tzinfo=UTC),
        "score": math.inf,
        "nothing": math.nan,
        "flag": True,
    }
    other = row | {"key": "b", "score": -math.inf, "day": date(1969, 1, 1)}
    for some in ([row, other], [row | {"key": "c", "score": 1.0, "nothing": None}]):
        table.commit([table.writer.write(pa.Table.from_pylist(some, schema=SCHEMA))], 1.0)
    assert table.num_rows == 3
    dataset = DeltaTable(tmp_path).to_pyarrow_dataset()
    for name in ("day", "local", "moment", "score", "flag"):
        found = dataset.to_table(
            filter=pc.field(name) == pa.scalar(row[name], SCHEMA.field(name).type)
        )
        assert "a" in found["key"].to_pylist(), name
    found = dataset.to_table(filter=pc.field("score") == 1.0)
    assert found["key"].to_pylist() == ["c"]


def test_texts_that_fit_no_array_are_written_and_merged_in_bounded_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With limits a thousandth of the real ones; 3 GB of text would take minutes."""
    monkeypatch.setattr(pipeline.output.parquet_files, "_ROW_GROUP_BYTES", 200_000)
    monkeypatch.setattr(compaction, "_MAX_MEMORY_BYTES", 1_000_000)
    schema = pa.schema([("key", pa.string()), ("text", pa.string())])
    table = table_in(tmp_path, schema)
    for part in range(6):
        rows = [{"key": f"{n:03d}", "text": f"{n:06d}" * 1000} for n in range(part, 300, 6)]
        table.commit([table.writer.write(pa.Table.from_pylist(rows, schema=schema))], 1.0)
    assert compaction.merge_small_files(table) == 4
    assert table.num_rows == 300
    for name in table.log.file_names():
        metadata = pq.ParquetFile(tmp_path / name).metadata
        assert max(metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)) < 40
        keys = pq.read_table(tmp_path / name)["key"].to_pylist()
        assert keys == sorted(keys)
        assert pq.read_schema(tmp_path / name).field("text").type == pa.string()


@pytest.mark.night  # takes 4 GB of memory
def test_columns_of_text_above_the_limit_of_one_array_are_sorted() -> None:
    """Two chunks that Arrow cannot join: their offsets together pass 2^31."""
    chunk = pa.array(["x" * 2**20] * 1100)
    rows = pa.table({"key": pa.chunked_array([pa.array(["b"] * 1100), pa.array(["a"] * 1100)])})
    rows = rows.append_column("text", pa.chunked_array([chunk, chunk]))
    groups = pipeline.output.parquet_files._sorted_groups(rows, "key")
    first = next(groups)
    assert first["key"].to_pylist() == ["a"] * first.num_rows
    assert first.nbytes < 300 * 2**20


def test_a_failed_merge_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_table: OutputTable) -> int:
        raise pa.ArrowInvalid("offset overflow while concatenating arrays")

    monkeypatch.setattr("pipeline.output.layout.merge_small_files", fail)
    output = Output(tmp_path)
    output.claim(run_file(), overwrite=False)
    output.tables()
    output.merge_files()
    output.release()
    assert sum("offset overflow" in line for line in caplog.messages) == 4


def test_rows_that_can_never_be_written_end_the_run_at_once(tmp_path: Path) -> None:
    table = table_in(tmp_path, SCHEMA)
    writer = WriteActor(table.writer)
    with pytest.raises(OutputFailedError, match="the tags cannot be written: "):
        writer.write(pa.table({"other": [1]}))
