"""Parquet files as Spark and Delta Lake leave them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from pipeline.errors import UsageError
from pipeline.sources import open_archive
from tests.s3 import TestStore


def rows(*keys: str) -> pa.Table:
    return pa.table({"key": keys, "image": [key.encode() for key in keys]})


def found(location: object) -> dict[str, object]:
    archive = open_archive([str(location)])
    images = list(archive.list_images())
    contents = archive.fetcher.fetch_all(images, 1000)
    return {image.key: content for image, content in zip(images, contents, strict=True)}


def test_what_an_unfinished_write_of_spark_leaves_is_left_out(tmp_path: Path) -> None:
    names = ["part-0.parquet", "_day=1/part-1.parquet", "_temporary/0/t/part-0.parquet"]
    for name in [*names, "_metadata.parquet"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows(name), tmp_path / name)
    expected = {names[0]: names[0].encode(), names[1]: names[1].encode()}
    assert found(tmp_path) == expected
    assert found(tmp_path / "**/*.parquet") == expected
    assert list(found(tmp_path / "_temporary/**/*.parquet")) == [names[2]]


def make_table(uri: str, options: dict[str, str] | None = None) -> None:
    write_deltalake(uri, rows("a", "b", "c"), storage_options=options)
    table = DeltaTable(uri, storage_options=options)
    table.delete("key = 'b'")
    table.optimize.compact()
    table.create_checkpoint()
    partitioned = rows("d")
    write_deltalake(uri, partitioned, mode="append", storage_options=options)


def test_a_delta_table_is_read_through_its_log(tmp_path: Path) -> None:
    make_table(str(tmp_path / "t"))
    assert found(tmp_path / "t") == {"a": b"a", "c": b"c", "d": b"d"}


def test_a_delta_table_on_s3_is_read_through_its_log(s3: TestStore) -> None:
    uri = f"s3://{s3.new_bucket()}/t"
    make_table(uri, {"aws_conditional_put": "etag", "allow_http": "true"})
    assert found(uri) == found(f"{uri}/") == {"a": b"a", "c": b"c", "d": b"d"}


def test_partitions_of_a_delta_table_are_found_whatever_their_values(tmp_path: Path) -> None:
    table = rows("a", "b").append_column("place", pa.array(["x y", "50%/ü"]))
    write_deltalake(str(tmp_path / "t"), table, partition_by=["place"])
    assert found(tmp_path / "t") == {"a": b"a", "b": b"b"}


def test_a_damaged_delta_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t" / "_delta_log").mkdir(parents=True)
    (tmp_path / "t" / "_delta_log" / f"{0:020}.json").write_text("{")
    pq.write_table(rows("a"), tmp_path / "t" / "a.parquet")
    with pytest.raises(DeltaError):
        DeltaTable(tmp_path / "t")
    with pytest.raises(UsageError, match=r"^input: cannot read the Delta table"):
        found(tmp_path / "t")
