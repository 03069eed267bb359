"""Parquet files that stand for gigabytes, or lie, take no more memory than the limits allow."""

import os
import tracemalloc
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


def varint(number: int, length: int = 0) -> bytes:
    """Thrift's coding of a positive integer, in at least `length` bytes."""
    number *= 2
    coded = bytearray()
    while number >= 128 or len(coded) + 1 < length:
        coded.append(number % 128 + 128)
        number //= 128
    return bytes([*coded, number])


def lie_in_footer(path: Path) -> None:
    """The footer declares 1,000 bytes for each column that is larger than 1 MiB."""
    content = path.read_bytes()
    group = pq.ParquetFile(path).metadata.row_group(0)
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    sizes = [group.column(number).total_uncompressed_size for number in range(group.num_columns)]
    for size in (varint(size) for size in sizes if size > MIB):
        position = content.index(size, footer)
        content = content[:position] + varint(1000, len(size)) + content[position + len(size) :]
    path.write_bytes(content)
    group = pq.ParquetFile(path).metadata.row_group(0)
    assert max(group.column(n).total_uncompressed_size for n in range(group.num_columns)) <= 1000


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("coded", [False, True])
def test_a_footer_that_lies_about_sizes_changes_nothing(
    tmp_path: Path, version: str, coded: bool
) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"image": [b"small", *[bytes(64 * MIB)] * 3]})
    sizes = {"dictionary_pagesize_limit": 2**30, "data_page_size": 1, "write_batch_size": 1}
    pq.write_table(
        *(table, path), compression="zstd", use_dictionary=coded, data_page_version=version, **sizes
    )
    lie_in_footer(path)
    with arrow_memory(16 * MIB):
        archive = open_archive([str(path)])
        got = list(archive.fetcher.fetch_all(list(archive.list_images()), 16 * MIB))
    assert coded or got.pop(0) == b"small"
    errors = [error for error in got if isinstance(error, ImageError)]
    assert errors == got
    assert {error.reason for error in errors} == {Reason.TOO_LARGE}


def test_a_long_key_is_not_unpacked_where_the_footer_hides_it(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": [b"1"], "key": ["x" * 256 * MIB]}), path, compression="zstd")
    lie_in_footer(path)
    with arrow_memory(16 * MIB):
        (image,) = open_archive([str(path)]).list_images()
    assert image.key == "a.parquet/"


def test_a_huge_stored_value_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"image": [b"small", os.urandom(64 * MIB), b"lost"]}),
        *(path, 1024, "2.6", False),
        compression="none",
        data_page_size=1,
        write_batch_size=1,
    )
    archive = open_archive([str(path)])
    images = list(archive.list_images())
    tracemalloc.start()
    try:
        with arrow_memory(16 * MIB):
            got = list(archive.fetcher.fetch_all(images, 4 * MIB))
        assert tracemalloc.get_traced_memory()[1] < 16 * MIB
    finally:
        tracemalloc.stop()
    assert got[0] == b"small"
    assert [error.reason for error in got[1:] if isinstance(error, ImageError)] == [
        Reason.TOO_LARGE,
        Reason.TOO_LARGE,
    ]


@pytest.mark.parametrize("length", [10, 5_000, 300_000])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_pages_of_all_sizes_pass(tmp_path: Path, length: int, version: str) -> None:
    """The guard follows the pages; if it lost its place, it would refuse them."""
    pictures = [os.urandom(length + number % 7) for number in range(3_000_000 // (length + 2000))]
    keys = [f"{number:05}{'k' * (number % 50)}" for number in range(len(pictures))]
    sizes = {"data_page_size": 1000, "write_batch_size": 3, "row_group_size": 700}
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"key": keys, "image": pictures}), path, data_page_version=version, **sizes
    )
    archive = open_archive([str(path)])
    images = list(archive.list_images())
    assert [image.key for image in images] == keys
    assert list(archive.fetcher.fetch_all(images, MIB)) == pictures
