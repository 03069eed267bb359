"""One table: fencing, commits, compaction, and what readers see."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from pipeline.errors import OutputFailedError, StaleEpochError, UsageError
from pipeline.output.compaction import merge_small_files
from pipeline.output.delta_log import open_delta
from pipeline.output.delta_table import OutputTable
from pipeline.output.parquet_files import WrittenFile
from pipeline.records import TAGS_SCHEMA
from pipeline.storage import open_output_store
from tests.pipeline.output.tables import tables_in

SCHEMA = pa.schema([("key", pa.string()), ("run", pa.int64())])


def table_in(location: str, epoch: int, schema: pa.Schema = SCHEMA) -> OutputTable:
    store = open_output_store(location).child("tags")
    return OutputTable(store, schema, epoch, f"run-{epoch}", "key")


def written(table: OutputTable, keys: Sequence[str]) -> WrittenFile:
    rows = {"key": list(keys), "run": [table.writer.epoch] * len(keys)}
    return table.writer.write(pa.table(rows, schema=SCHEMA))


def delta_of(table: OutputTable, version: int | None = None) -> DeltaTable:
    return DeltaTable(
        table.store.delta_url, version=version, storage_options=table.store.delta_options
    )


def rows_of(table: OutputTable, version: int | None = None) -> dict[str, int]:
    """Read with the public library; fails on duplicate keys."""
    content = delta_of(table, version).to_pyarrow_table()
    keys = content["key"].to_pylist()
    assert len(keys) == len(set(keys)), "duplicate keys"
    return dict(zip(keys, content["run"].to_pylist(), strict=True))


def test_a_commit_of_an_earlier_epoch_is_refused(location: str) -> None:
    first = table_in(location, 1)
    first.commit([written(first, "ab")], 1.0)
    on_its_way = written(first, "cd")
    second = table_in(location, 2)
    with pytest.raises(
        StaleEpochError, match=r"a later run has taken over .* \(epoch 2, this run has 1"
    ):
        first.commit([on_its_way], 2.0)
    second.commit([written(second, "cd")], 1.0)
    with pytest.raises(StaleEpochError):
        first.commit([on_its_way], 3.0)
    with pytest.raises(StaleEpochError):
        first.replace([], first.log.file_names())
    with pytest.raises(StaleEpochError):
        table_in(location, 1)
    assert rows_of(second) == {"a": 1, "b": 1, "c": 2, "d": 2}


@pytest.mark.parametrize("name", ["a b", "a#b?c=1&d", "50%", "ü", "x]y[1]^|", "~{1}*", "<`:+\"'>"])
def test_a_table_lies_where_its_odd_name_says(location: str, name: str) -> None:
    neighbours = [name.partition("#")[0], name.partition("?")[0], quote(name), unquote(name)]
    table = table_in(f"{location}/{name}", 1)
    for keys in ("ab", "cd", "ef"):
        table.commit([written(table, keys)], 1.0)
    assert merge_small_files(table) > 0
    second = table_in(f"{location}/{name}", 2)
    second.commit([written(second, "a")], 1.0, without="ab")
    table.log.delta.create_checkpoint()
    assert rows_of(second) == {"a": 2} | dict.fromkeys("cdef", 1)
    names = second.log.file_names()
    for file in names:
        pq.read_table(file, filesystem=second.store.arrow())
    assert sorted(second.erase()) == sorted(names)
    second.store.delete(names)
    assert table_in(f"{location}/{name}", 3).num_rows == 0
    assert list(open_output_store(f"{location}/{name}").names()) == ["tags/"]
    for other in {*neighbours} - {name}:
        with suppress(UsageError):
            assert list(open_output_store(f"{location}/{other}").names()) == []


def test_a_commit_whose_acknowledgement_was_lost_is_not_repeated(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_in(location, 1)
    delta = table.log.delta

    class LossyDelta:
        """Loses the acknowledgements of the first commits."""

        num_lost = 0

        def create_write_transaction(self, *args: object, **options: object) -> None:
            delta.create_write_transaction(*args, **options)  # type: ignore[arg-type]
            self.num_lost += 1
            if self.num_lost <= 2:
                raise OSError("Generic S3 error: error sending request: connection reset")

        def __getattr__(self, name: str) -> object:
            return getattr(delta, name)

    monkeypatch.setattr(table.log, "delta", LossyDelta())
    table.commit([written(table, "a")], 1.0)
    table.commit([written(table, "b")], 2.0)
    table.commit([written(table, "c")], 3.0)
    assert rows_of(table) == {"a": 1, "b": 1, "c": 1}
    assert delta_of(table).version() == 4  # created, epoch, three commits


def test_commits_of_another_program_do_not_disturb(location: str) -> None:
    table = table_in(location, 1)
    table.commit([written(table, "a")], 1.0)
    table.commit([written(table, "b")], 2.0)
    delta_of(table).optimize.compact()
    table.commit([written(table, "c")], 3.0, without=["a"])
    assert rows_of(table) == {"b": 1, "c": 1}


def test_rows_are_replaced_in_the_commit_that_adds_the_new_ones(location: str) -> None:
    first = table_in(location, 1)
    first.commit([written(first, "abcd")], 1.0)
    first.commit([written(first, "efgh")], 2.0)
    second = table_in(location, 2)
    before = delta_of(second).version()
    second.commit([written(second, "bcx")], 1.0, without=["b", "c", "h", "never there"])
    assert delta_of(second).version() == before + 1
    assert rows_of(second) == dict.fromkeys("adefg", 1) | dict.fromkeys("bcx", 2)
    second.commit([], 2.0, without=["a"])
    second.commit([], 3.0, without=["a"])
    assert delta_of(second).version() == before + 2
    for version in range(2, before + 3):
        rows_of(second, version)


def test_merging_leaves_one_sorted_file_with_the_same_rows(location: str) -> None:
    table = table_in(location, 1)
    for keys in ("dz", "ay", "cb", "e"):
        table.commit([written(table, keys)], 1.0)
    assert merge_small_files(table) == 3
    assert rows_of(table) == dict.fromkeys("abcdeyz", 1)
    delta = delta_of(table)
    assert delta.to_pyarrow_table()["key"].to_pylist() == sorted("abcdeyz")
    assert len(delta.file_uris()) == 1
    assert merge_small_files(table) == 0
    # Readers of an older version still find its files.
    assert rows_of(table, delta.version() - 1) == dict.fromkeys("abcdeyz", 1)


def test_files_are_merged_up_to_a_size(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.output.compaction._TARGET_ROWS", 10)
    table = table_in(location, 1)
    table.commit([written(table, "abcdefgh")], 1.0)  # large enough
    for keys in ("nop", "ijk", "qrs", "lm", "tu"):
        table.commit([written(table, keys)], 1.0)
    assert merge_small_files(table) == 3
    sizes = pa.table(delta_of(table).get_add_actions())["num_records"].to_pylist()
    assert sorted(sizes) == [5, 8, 8]
    assert rows_of(table) == dict.fromkeys("abcdefghijklmnopqrstu", 1)


def test_only_files_that_a_killed_run_left_are_removed(location: str) -> None:
    first = table_in(location, 1)
    first.commit([written(first, "ab")], 1.0)
    first.commit([written(first, "cd")], 2.0)
    merge_small_files(first)
    orphan = written(first, "xy")
    second = table_in(location, 2)
    uncommitted = written(second, "uv")
    foreign = "part-00000-of-another-program.parquet"
    second.store.write(foreign, b"1")
    assert second.remove_leftovers() == 1
    names = set(second.store.names())
    assert orphan.name not in names
    assert {uncommitted.name, foreign} < names
    # The two merged files stay for readers of older versions.
    assert len([name for name in names if name.startswith("part-00000001-")]) == 3
    assert rows_of(second) == dict.fromkeys("abcd", 1)


def test_erasing_empties_the_table_and_keeps_the_epoch(location: str) -> None:
    first = table_in(location, 1)
    first.commit([written(first, "ab")], 5.0)
    second = table_in(location, 2)
    second.store.delete(second.erase())
    assert rows_of(second) == {}
    assert [name for name in second.store.names() if name.endswith(".parquet")] == []
    with pytest.raises(StaleEpochError):
        first.commit([written(first, "c")], 6.0)
    second.commit([written(second, "z")], 3.0)
    assert second.log.elapsed_s_of_all_runs() == {2: 3.0}


def test_seconds_of_each_run_are_in_the_log(location: str) -> None:
    for epoch, seconds in ((1, 4.0), (2, 2.5)):
        table = table_in(location, epoch)
        table.commit([written(table, f"a{epoch}")], seconds / 2)
        table.commit([written(table, f"b{epoch}")], seconds)
    assert table_in(location, 3).log.elapsed_s_of_all_runs() == {1: 4.0, 2: 2.5}


def test_other_columns_are_refused_unless_the_table_is_empty(location: str) -> None:
    wider = pa.schema([*SCHEMA, ("more", pa.float32())])
    table_in(location, 1)
    table = table_in(location, 2, wider)
    assert pa.schema(delta_of(table).schema().to_arrow()).names == ["key", "run", "more"]
    rows = pa.table({"key": ["a"], "run": [1], "more": [0.5]}, schema=wider)
    table.commit([table.writer.write(rows)], 1.0)
    with pytest.raises(UsageError, match="other columns"):
        table_in(location, 3)


def test_a_file_that_another_program_has_rewritten_is_not_replaced(location: str) -> None:
    table = table_in(location, 1)
    table.commit([written(table, "a")], 1.0)
    table.commit([written(table, "b")], 2.0)
    names = table.log.file_names()
    delta_of(table).optimize.compact()
    with pytest.raises(OutputFailedError, match="another program has rewritten part-00000001"):
        table.replace([], names)


def test_opening_a_missing_table_gives_none(location: str) -> None:
    assert open_delta(open_output_store(location)) is None


def test_a_filter_for_valid_values_finds_all_of_them(tmp_path: Path) -> None:
    """As the audit filters: no file's bounds may hide its rows."""
    tags = tables_in(tmp_path, 1).tags
    ids_of_file: list[list[int | None]] = [[None, None], [3, None], [4, 5], [None, None]]
    for number, audited in enumerate(ids_of_file):
        content = [{"key": f"{number}-{n}", "audit_label_id": id_} for n, id_ in enumerate(audited)]
        table = pa.Table.from_pylist(content, schema=TAGS_SCHEMA)
        tags.commit([tags.writer.write(table)], float(number))
    batches = tags.batches(["audit_label_id"], pc.field("audit_label_id").is_valid())
    found = [value for batch in batches for value in batch["audit_label_id"].to_pylist()]
    assert sorted(found) == [3, 4, 5]


def test_an_equal_epoch_of_another_run_is_refused(location: str) -> None:
    """As where `.runs` was lost, or OUT was removed and made again while its run lives."""
    first = table_in(location, 1)
    store = open_output_store(location).child("tags")
    with pytest.raises(StaleEpochError):
        OutputTable(store, SCHEMA, 1, "another run", "key")
    first.commit([written(first, "ab")], 5.0)
    assert set(rows_of(first)) == {"a", "b"}
