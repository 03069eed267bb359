import json
import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from pipeline.errors import UsageError
from pipeline.output.delta_table import OutputTable
from pipeline.output.layout import Output
from pipeline.output.metadata import RUN_FORMAT, ModelIdentity, RunFile, Summary
from pipeline.records import TAGS_SCHEMA
from pipeline.storage import open_output_store
from tests.command_line import rows
from tests.pipeline.output.fake_run import run_file
from tests.pipeline.output.tables import tables_in

SUMMARY = Summary(
    images=0,
    tagged=0,
    dead_letters=0,
    other_files=0,
    skipped=0,
    exits=(0, 0),
    gmacs_per_image=None,
    gmacs_full_depth=3.0,
    seconds=0.0,
    images_per_second=None,
    out="out",
)


def claim(folder: Path, run: RunFile, overwrite: bool = False) -> Output:
    """Claims the output, opens its tables and releases it at once."""
    output = Output(folder)
    output.claim(run, overwrite)
    output.tables()
    output.release()
    return output


def test_a_second_run_at_the_same_time_is_refused(tmp_path: Path) -> None:
    first = Output(tmp_path)
    first.claim(run_file(), overwrite=False)
    with pytest.raises(UsageError, match="another run"):
        claim(tmp_path, run_file())
    first.release()
    claim(tmp_path, run_file())


def test_a_run_killed_while_it_wrote_its_first_file_is_continued(tmp_path: Path) -> None:
    partial = tmp_path / f".run.json.{'0' * 32}.partial"
    partial.write_text("{")
    claim(tmp_path, run_file())
    assert not partial.exists()


def test_the_same_job_continues_on_another_machine(tmp_path: Path) -> None:
    claim(tmp_path / "out", run_file())
    claim(
        tmp_path / "out",
        run_file(run="other", hardware={"cpu": "x", "num_cpus": 9, "gpus": []}, dtype="bfloat16"),
    )


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"inputs": ("file:///b",)}, "archive"),
        ({"top_k": 3}, "top-k"),
        ({"audit": 0.01}, "audit: none, not 0.01"),
        ({"decode": "fast"}, "decode: exact, not fast"),
        ({"max_pixels": 1000}, "max-pixels"),
        ({"state": "int8"}, "state: float32, not int8"),
        (
            {
                "model": ModelIdentity(
                    name="m",
                    digest="d2",
                    num_classes=2,
                    stages=("a", "b"),
                    gmacs_per_exit=(1.0, 3.0),
                )
            },
            "model",
        ),
    ],
)
def test_results_of_another_job_are_not_mixed_in(
    tmp_path: Path, changes: dict[str, object], word: str
) -> None:
    claim(tmp_path / "out", run_file())
    with pytest.raises(UsageError, match=f"another {word}.*--overwrite"):
        claim(tmp_path / "out", run_file(**changes))


def test_stricter_thresholds_continue_and_are_satisfied_only_by_a_whole_run(
    tmp_path: Path,
) -> None:
    claim(tmp_path, run_file(thresholds=(0.5,))).complete(SUMMARY)
    assert (tmp_path / "_SUCCESS").exists()
    for thresholds in ((0.7,), (0.7,), (2.0,)):
        output = claim(tmp_path, run_file(thresholds=thresholds))
        assert not (tmp_path / "_SUCCESS").exists(), "its tags were made with looser thresholds"
        run = output.run_file()
        assert (run.thresholds, run.satisfied_thresholds) == (thresholds, (0.5,))
    output.complete(SUMMARY, is_whole=False)  # as after a retry
    assert output.run_file().satisfied_thresholds == (0.5,)
    assert not (tmp_path / "_SUCCESS").exists()
    output.complete(SUMMARY)
    assert output.run_file().satisfied_thresholds is None
    assert (tmp_path / "_SUCCESS").exists()
    claim(tmp_path, run_file(thresholds=(2.0,)))
    assert (tmp_path / "_SUCCESS").exists(), "the same thresholds change nothing"


def test_an_audit_is_taken_over_and_another_is_refused(tmp_path: Path) -> None:
    claim(tmp_path, run_file(audit=0.01))
    deeper: dict[str, object] = {"thresholds": (2.0,)}
    for changes in ({}, deeper, deeper | {"audit": 0.01}):
        output = Output(tmp_path)
        assert output.claim(run_file(**changes), overwrite=False).settings.audit == 0.01
        output.release()
        run = output.run_file()
        assert run.settings.audit == 0.01
    with pytest.raises(UsageError, match=r"another audit: 0\.01, not 0\.02"):
        claim(tmp_path, run_file(thresholds=(2.0,), audit=0.02))
    claim(tmp_path, run_file(), overwrite=True)
    run = Output(tmp_path).run_file()
    assert run.settings.audit is None


def write_tags(folder: Path, without: str) -> None:
    """One row of tags in a table that lacks a column."""
    schema = pa.schema([field for field in TAGS_SCHEMA if field.name != without])
    tags = OutputTable(open_output_store(folder).child("tags"), schema, 9, "run-9", "key")
    row = {"key": "a", "exit_stage": 1, "exit_confidences": [0.6]}
    tags.commit([tags.writer.write(pa.Table.from_pylist([row], schema=schema))], 1.0)


def test_tables_with_other_columns_are_refused_before_anything_changes(tmp_path: Path) -> None:
    claim(tmp_path, run_file()).complete(SUMMARY)
    write_tags(tmp_path, without="gmacs")
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(UsageError, match="has other columns"):
        claim(tmp_path, run_file(thresholds=(0.7,)))
    assert (tmp_path / "_SUCCESS").exists()
    assert (tmp_path / "run.json").read_bytes() == before
    claim(tmp_path, run_file(thresholds=(0.7,)), overwrite=True)


def test_looser_thresholds_are_refused_with_the_exit(tmp_path: Path) -> None:
    model = ModelIdentity(
        name="m", digest="d", num_classes=2, stages=("a", "b", "c"), gmacs_per_exit=(1.0, 3.0, 5.0)
    )
    claim(tmp_path, run_file(model=model, thresholds=(0.5, 0.7)))
    before = (tmp_path / "run.json").read_bytes()
    with pytest.raises(
        UsageError,
        match=r"0\.5 / 0\.7, not 0\.9 / 0\.6, looser at exit 2;.* --thresholds .*run\.json.* "
        r"--overwrite to start over$",
    ):
        claim(tmp_path, run_file(model=model, thresholds=(0.9, 0.6)))
    assert (tmp_path / "run.json").read_bytes() == before
    claim(tmp_path, run_file(model=model, thresholds=(0.9, 0.6)), overwrite=True)


def test_a_run_file_of_another_format_is_refused_in_one_line(tmp_path: Path) -> None:
    claim(tmp_path, run_file())
    content = json.loads((tmp_path / "run.json").read_bytes())
    assert content["format"] == RUN_FORMAT
    content["format"] = RUN_FORMAT + 1
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"another version of dvt \(format: .*--overwrite starts"):
        claim(tmp_path, run_file())
    claim(tmp_path, run_file(), overwrite=True)


def test_a_folder_with_other_files_is_left_alone_even_with_overwrite(tmp_path: Path) -> None:
    (tmp_path / "tags").mkdir()
    (tmp_path / "tags" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="not empty"):
        claim(tmp_path, run_file())
    with pytest.raises(UsageError, match="not empty"):
        claim(tmp_path, run_file(), overwrite=True)
    assert (tmp_path / "tags" / "thesis.tex").read_text() == "years of work"


def test_overwrite_removes_the_results_of_the_other_job(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    first = Output(folder)
    first.claim(run_file(), overwrite=False)
    tags = first.tables()[0]
    row = {"key": "a", "exit_stage": 1}
    tags.commit([tags.writer.write(pa.Table.from_pylist([row], schema=TAGS_SCHEMA))], 1.0)
    first.release()
    (folder / "_SUCCESS").touch()
    claim(folder, run_file(inputs=("file:///b",)), overwrite=True)
    assert not (folder / "_SUCCESS").exists()
    assert rows(folder / "tags") == []
    assert not list((folder / "tags").glob("*.parquet"))


def test_a_damaged_run_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{]")
    with pytest.raises(UsageError, match=r"run\.json"):
        claim(tmp_path, run_file())


def test_a_filter_on_any_column_finds_its_rows_in_any_reader(tmp_path: Path) -> None:
    tags, letters, _, shards = tables_in(tmp_path, 1)
    row = {"key": "a", "uri": "u" * 99, "label": "cat", "exit_stage": 2, "gmacs": 1.5, "width": 3}
    tags.commit([tags.writer.write(pa.Table.from_pylist([row], schema=TAGS_SCHEMA))], 1.0)
    delta = DeltaTable(tmp_path / "tags")
    for name in ("key", "uri", "label", "exit_stage", "gmacs", "width"):
        assert delta.to_pyarrow_table(filters=[(name, "=", row[name])]).num_rows == 1, name
        with duckdb.connect() as connection:
            content = connection.execute(
                f"SELECT count(*) FROM read_parquet('{tmp_path}/tags/*.parquet') WHERE {name} = ?",
                [row[name]],
            )
            assert content.fetchall() == [(1,)]
    assert delta.to_pyarrow_dataset().to_table(filter=pc.field("etag").is_null()).num_rows == 1
    assert letters.num_rows == 0
    assert shards.num_rows == 0


def test_epochs_increase_where_the_files_of_earlier_runs_are_lost(tmp_path: Path) -> None:
    for _ in range(3):
        claim(tmp_path, run_file())
    shutil.rmtree(tmp_path / ".runs")
    claim(tmp_path, run_file())
    assert [path.name for path in (tmp_path / ".runs").iterdir()] == ["00000004.json"]


def test_a_continued_run_computes_as_the_first_did(tmp_path: Path) -> None:
    first: dict[str, object] = {
        **{"decode": "fast", "max_pixels": 1000, "state": "int8", "top_k": 3},
        "keep_columns": ("caption",),
    }
    claim(tmp_path, run_file(dtype="bfloat16", **first))
    claim(tmp_path, run_file(dtype="float32"))
    run = Output(tmp_path).run_file()
    assert run.dtype == "bfloat16"
    assert {name: getattr(run.settings, name) for name in first} == first
    claim(tmp_path, run_file(dtype="float32", **first))


def test_an_archive_in_another_place_is_continued_by_saying_so(tmp_path: Path) -> None:
    claim(tmp_path, run_file())
    elsewhere = ("file:///b",)
    with pytest.raises(UsageError, match="pass --moved if these are the same images in another"):
        claim(tmp_path, run_file(inputs=elsewhere))
    claim(tmp_path, run_file(inputs=elsewhere, moved=True))
    run = Output(tmp_path).run_file()
    assert (run.inputs, run.settings.moved) == (elsewhere, False)
    claim(tmp_path, run_file(inputs=elsewhere))
