"""The report's numbers are those that DuckDB computes from the same tables."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from jobs.report import build_report
from pipeline.errors import UsageError

MakeOutput = Callable[..., Path]


def query(out: Path, table: str, sql: str) -> list[tuple[Any, ...]]:
    """Runs SQL over `t`, the committed Parquet files of a table, without this project's reader."""
    files = DeltaTable(str(out / table)).file_uris()
    with duckdb.connect() as connection:
        connection.read_parquet(files).create_view("t")
        return connection.sql(sql).fetchall()


def test_totals_and_exits_agree_with_duckdb(
    make_output: MakeOutput, tags: pa.Table, dead_letters: pa.Table
) -> None:
    out = make_output(tags, dead_letters)
    data = build_report(out)

    [(num_tagged, gmacs)] = query(out, "tags", "select count(*), sum(gmacs::double) from t")
    assert (data.num_tagged, data.num_dead_letters) == (num_tagged, 40)
    assert data.compute.spent == pytest.approx(gmacs)
    assert data.compute.per_image == pytest.approx(gmacs / num_tagged)
    assert data.compute.ratio == pytest.approx(gmacs / (5.0 * num_tagged))
    expected = query(
        out,
        "tags",
        "select exit_stage, count(*), avg(confidence::double), sum(gmacs::double)"
        " from t group by 1 order by 1",
    )
    for row, (stage, num_images, confidence, spent) in zip(data.exits, expected, strict=True):
        assert (row.exit_stage, row.num_images) == (stage, num_images)
        assert row.mean_confidence == pytest.approx(confidence)
        assert row.gmacs == pytest.approx(spent)
    assert [row.num_reached for row in data.confidence] == [
        query(out, "tags", f"select count(*) from t where exit_stage >= {k}")[0][0]
        for k in (1, 2, 3)
    ]
    assert [row.threshold for row in data.confidence] == [0.8, 0.6, None]


def test_histograms_agree_with_duckdb(make_output: MakeOutput, tags: pa.Table) -> None:
    out = make_output(tags)
    for row in build_report(out).confidence:
        k = row.exit_stage
        counts = query(
            out,
            "tags",
            f"select exit_stage = {k}, least(floor(exit_confidences[{k}] * 20::float), 19)::int,"
            f" count(*) from t where exit_stage >= {k} group by 1, 2",
        )
        expected = {True: [0] * 20, False: [0] * 20}
        for has_exited, bin_index, num in counts:
            expected[has_exited][bin_index] = num
        assert list(row.exited) == expected[True]
        assert list(row.passed) == expected[False]


def test_labels_agree_with_duckdb(make_output: MakeOutput, tags: pa.Table) -> None:
    out = make_output(tags)
    data = build_report(out)
    expected = query(
        out,
        "tags",
        "select label, count(*), avg(exit_stage) from t group by 1 order by 2 desc, 1 limit 15",
    )
    assert [(row.label, row.num_images) for row in data.labels] == [row[:2] for row in expected]
    assert [row.mean_exit for row in data.labels] == pytest.approx([row[2] for row in expected])
    assert data.num_labels == 25
    groups = query(
        out,
        "tags",
        "select name, count(*), avg(exit_stage) from "
        "(select unnest(groups) as name, exit_stage from t) group by name order by 2 desc",
    )
    assert [row[0] for row in groups] == ["all", "even"]
    assert [(row.label, row.num_images) for row in data.groups] == [row[:2] for row in groups]
    assert [row.mean_exit for row in data.groups] == pytest.approx([row[2] for row in groups])


def test_easiest_and_hardest_agree_with_duckdb(make_output: MakeOutput, tags: pa.Table) -> None:
    out = make_output(tags)
    data = build_report(out)
    easiest = query(
        out,
        "tags",
        "with r as (select *, row_number() over (partition by label order by confidence desc, key)"
        " as place from t where exit_stage = 1)"
        " select key from r where place <= 2 order by confidence desc, key limit 12",
    )
    hardest = query(
        out, "tags", "select key from t order by exit_stage desc, confidence, key limit 12"
    )
    assert [(picture.key,) for picture in data.easiest] == easiest
    assert [(picture.key,) for picture in data.hardest] == hardest
    assert all(picture.thumbnail for picture in data.easiest + data.hardest)


def test_the_report_does_not_depend_on_the_batch_size(
    make_output: MakeOutput, tags: pa.Table, dead_letters: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = make_output(tags, dead_letters)
    whole = build_report(out)
    monkeypatch.setattr("jobs.report.collect._BATCH_ROWS", 7)
    pieces = build_report(out)
    assert pieces.easiest == whole.easiest
    assert pieces.hardest == whole.hardest
    assert pieces.labels == whole.labels
    assert pieces.dead_letters == whole.dead_letters
    assert pieces.confidence == whole.confidence


def test_dead_letters_come_by_reason_with_their_first_ten_keys(
    make_output: MakeOutput, tags: pa.Table, dead_letters: pa.Table
) -> None:
    reasons = build_report(make_output(tags, dead_letters)).dead_letters
    assert [(reason.reason, reason.num_images) for reason in reasons] == [
        ("truncated", 26),
        ("not_an_image", 14),
    ]
    assert [example.key for example in reasons[1].examples] == [
        f"broken/{i:03d}.jpg" for i in range(0, 30, 3)
    ]
    assert reasons[1].examples[1].detail == "byte 3 is the last"


def test_throughput_is_of_the_last_run_and_needs_three_shards(make_output: MakeOutput) -> None:
    """Run b: 10 images after 1 s, 30 after 2 s, 60 after 4 s; run a took 9 s."""
    shards = pa.table(
        {
            "run": ["a", "a", "a", "b", "b", "b"],
            "elapsed_s": [3.0, 6.0, 9.0, 4.0, 1.0, 2.0],
            "num_images": [5, 5, 5, 31, 10, 22],
            "num_other_files": [0, 0, 0, 1, 0, 2],
        }
    )
    out = make_output(shards=shards, run="b")
    data = build_report(out)
    assert [(point.elapsed_s, point.num_images) for point in data.throughput] == [
        (1.0, 10),
        (2.0, 30),
        (4.0, 60),
    ]
    assert data.seconds == 13.0
    assert data.images_per_second == pytest.approx(75 / 13)
    (out / "run.json").write_text(
        json.dumps({**json.loads((out / "run.json").read_text()), "run": "a"})
    )
    assert build_report(out).throughput[-1].num_images == 15


def test_a_finished_run_takes_wall_time_from_the_summary(
    make_output: MakeOutput, tags: pa.Table, dead_letters: pa.Table
) -> None:
    summary = {"images": 940, "tagged": 900, "seconds": 47.0, "images_per_second": 20.0}
    data = build_report(make_output(tags, dead_letters, summary=summary))
    assert (data.finished, data.notice) == (True, "")
    assert (data.num_images, data.seconds, data.images_per_second) == (940, 47.0, 20.0)


def test_a_summary_that_does_not_fit_the_tables_is_stale(
    make_output: MakeOutput, tags: pa.Table
) -> None:
    summary = {"images": 1500, "seconds": 47.0, "images_per_second": 20.0}
    data = build_report(make_output(tags, summary=summary))
    assert not data.finished
    assert data.num_images == 900
    assert "Unfinished run" in data.notice
    assert data.seconds is None


def test_rows_of_deleted_files_do_not_make_a_run_unfinished(
    make_output: MakeOutput, tags: pa.Table
) -> None:
    summary = {"images": 890, "seconds": 47.0, "images_per_second": 20.0}
    data = build_report(make_output(tags, summary=summary))
    assert data.finished
    assert data.notice.startswith("10 rows are of files")


def test_a_folder_that_is_not_an_output_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no output of dvt \(it has no run\.json\)") as error:
        build_report(tmp_path)
    assert "\n" not in str(error.value)


def test_a_damaged_run_json_is_refused_by_field(make_output: MakeOutput) -> None:
    with pytest.raises(UsageError, match=r"run\.json .*thresholds: 2 needed for 3 exits"):
        build_report(make_output(thresholds=[0.5]))


def test_an_exit_that_the_model_does_not_have_is_refused(
    make_output: MakeOutput, tags: pa.Table
) -> None:
    model = {
        "name": "m",
        "digest": "d",
        "num_classes": 25,
        "stages": ["4x4 tokens", "6x6 tokens"],
        "gmacs_per_exit": [1.0, 2.0],
    }
    out = make_output(tags, model=model, thresholds=[0.8])
    with pytest.raises(UsageError, match="exit_stage must be 1 to 2"):
        build_report(out)


def test_a_table_without_a_column_is_refused(make_output: MakeOutput, tags: pa.Table) -> None:
    with pytest.raises(UsageError, match="has no column gmacs"):
        build_report(make_output(tags.drop_columns("gmacs")))


def test_an_audit_is_counted_by_exit_as_duckdb_counts_it(
    make_output: MakeOutput, audited_tags: pa.Table
) -> None:
    out = make_output(audited_tags, audit=0.3)
    audit = build_report(out).audit
    assert audit is not None
    expected = query(
        out,
        "tags",
        "select exit_stage, count(*), count(*) filter (audit_agrees) from t "
        "where audit_agrees is not null group by exit_stage order by exit_stage",
    )
    assert [
        (stage, part.images, part.agreeing) for stage, part in enumerate(audit.exits, start=1)
    ] == expected
    assert audit.images == 300
    assert audit.exits[0].agreeing < audit.exits[0].images
    assert audit.compute_saved == pytest.approx(1 - (build_report(out).compute.ratio or 0))


def test_copies_do_not_count_in_the_compute_saved(
    make_output: MakeOutput, audited_tags: pa.Table
) -> None:
    """All unaudited rows are copies, which cost nothing; the saving is that of the others."""
    is_copy = pc.is_null(audited_tags["audit_agrees"])
    free = pc.if_else(is_copy, pa.scalar(0.0, pa.float32()), audited_tags["gmacs"])
    column = audited_tags.schema.get_field_index("gmacs")
    audit = build_report(
        make_output(audited_tags.set_column(column, "gmacs", free), audit=0.3)
    ).audit
    assert audit is not None
    mean = pc.mean(audited_tags.filter(pc.invert(is_copy))["gmacs"]).as_py()
    assert audit.compute_saved == pytest.approx(1 - mean / 5.0)


def test_an_output_without_an_audit_says_nothing_of_one(
    make_output: MakeOutput, tags: pa.Table
) -> None:
    assert build_report(make_output(tags)).audit is None
