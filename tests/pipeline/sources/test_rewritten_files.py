"""A local file that is rewritten between listing and fetch never lends its bytes to other keys."""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ImageError, Reason
from pipeline.sources import open_archive
from tests.pipeline.sources.test_tars import packed, tar_bytes


def write_tar(path: Path, names: str) -> None:
    path.write_bytes(tar_bytes([(f"{name}.jpg", name.encode() * 900) for name in names]))


def write_packed_tar(path: Path, names: str) -> None:
    path.write_bytes(packed(tar_bytes([(f"{name}.jpg", name.encode()) for name in names]), "zstd"))


def write_parquet(path: Path, names: str) -> None:
    table = pa.table({"image": [name.encode() * 900 for name in names], "key": list(names)})
    pq.write_table(table, path, compression="none", use_dictionary=False)


@pytest.mark.parametrize(
    ("name", "write"),
    [("t.tar", write_tar), ("t.tar.zst", write_packed_tar), ("t.parquet", write_parquet)],
)
@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("num_read_before", [0, 1])
def test_a_rewritten_container_is_a_dead_letter(
    tmp_path: Path,
    name: str,
    write: Callable[[Path, str], None],
    in_place: bool,
    num_read_before: int,
) -> None:
    path = tmp_path / name
    write(path, "ab")
    os.utime(path, ns=(10**18, 10**18))
    archive = open_archive([str(path)])
    images = list(archive.list_images())
    for image in images[:num_read_before]:
        assert not isinstance(next(archive.fetcher.fetch_all([image], 10**6)), ImageError)
    if not in_place:
        path.unlink()
    write(path, "cd")
    (got,) = archive.fetcher.fetch_all(images[-1:], 10**6)
    if isinstance(got, ImageError):
        assert got.reason is Reason.FETCH_FAILED
        assert "changed since it was listed" in got.detail
    else:  # read before, or from the open file, which is still the old one
        assert num_read_before
        assert got.startswith(b"b")


def test_a_rewritten_picture_is_a_dead_letter_and_a_new_version_in_the_next_listing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"one")
    os.utime(path, ns=(10**18, 10**18))
    archive = open_archive([str(tmp_path)])
    before = list(archive.list_images())
    path.write_bytes(b"two")
    (got,) = archive.fetcher.fetch_all(before, 100)
    assert isinstance(got, ImageError)
    assert "changed since it was listed" in got.detail
    after = list(archive.list_images())
    assert after[0].etag != before[0].etag
    assert list(archive.fetcher.fetch_all(after, 100)) == [b"two"]
