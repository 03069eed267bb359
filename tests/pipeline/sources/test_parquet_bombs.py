"""Small Parquet files that stand for gigabytes take no more memory than the limits allow."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ImageError, Reason
from pipeline.sources import SourceOptions, open_archive

MIB = 2**20
_POOLS: list[pa.MemoryPool] = []  # buffers may outlive a test, and need their pool


@contextmanager
def arrow_memory(max_bytes: int) -> Iterator[None]:
    """Arrow takes at most so much memory inside."""
    previous = pa.default_memory_pool()
    _POOLS.append(pa.proxy_memory_pool(previous))
    pa.set_memory_pool(_POOLS[-1])
    try:
        yield
    finally:
        pa.set_memory_pool(previous)
    assert _POOLS[-1].max_memory() < max_bytes


def write(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="zstd", dictionary_pagesize_limit=2**30)
    assert path.stat().st_size < MIB


def test_equal_rows_are_expanded_one_by_one(tmp_path: Path) -> None:
    value = bytes(32 * MIB)
    write(
        tmp_path / "a.parquet",
        pa.table({"image": pa.DictionaryArray.from_arrays([0] * 16, [value])}),
    )
    with arrow_memory(200 * MIB):
        archive = open_archive([str(tmp_path / "a.parquet")])
        images = list(archive.list_images())[:3]
        assert list(archive.fetcher.fetch_all(images, 64 * MIB)) == [value] * 3


def test_a_row_group_that_expands_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", pa.table({"image": [bytes(64 * MIB), b"small"]}))
    with arrow_memory(16 * MIB):
        archive = open_archive([str(tmp_path / "a.parquet")])
        got = list(archive.fetcher.fetch_all(list(archive.list_images()), 16 * MIB))
    reasons = [error.reason for error in got if isinstance(error, ImageError)]
    assert reasons == [Reason.TOO_LARGE] * 2


@pytest.mark.parametrize("column", ["key", "caption"])
def test_long_values_are_dead_letters_and_never_expanded(tmp_path: Path, column: str) -> None:
    long = pa.DictionaryArray.from_arrays([0, 1, *[0] * 999], ["x" * MIB, "short"])
    write(tmp_path / "a.parquet", pa.table({"image": [b"1"] * 1001, column: long}))
    options = SourceOptions(keep_columns=("caption",) if column == "caption" else ())
    with arrow_memory(64 * MIB):
        archive = open_archive([str(tmp_path / "a.parquet")], options)
        got = list(archive.fetcher.fetch_all(list(archive.list_images()), MIB))
    assert got[1] == b"1"
    failed = [error for error in got if isinstance(error, ImageError)]
    assert len(failed) == 1000
    assert failed[0].reason is Reason.TOO_LARGE
    assert failed[0].detail == f"column {column} holds more than 65536 bytes"
