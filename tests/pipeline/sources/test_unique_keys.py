"""Keys are unique in an archive, whatever the names in it."""

import io
import os
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources import SourceOptions, open_archive
from pipeline.sources.keys import as_text
from tests.pipeline.sources.test_tars import tar_bytes


def keys(*inputs: object, options: SourceOptions | None = None) -> list[str]:
    return [image.key for image in open_archive([str(i) for i in inputs], options).list_images()]


def test_an_escaped_name_never_takes_the_key_of_the_file_that_is_spelled_like_it(
    tmp_path: Path,
) -> None:
    raw = b"x\xff.jpg"
    spelled = as_text(raw)
    for name in (raw, spelled.encode(), b"y\xff/1.jpg", as_text(b"y\xff").encode() + b"/1.jpg"):
        path = Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name)
    archive = open_archive([str(tmp_path / "in")])
    images = list(archive.list_images())
    folder = as_text(b"y\xff")
    assert [i.key for i in images] == [
        *(spelled, f"{spelled}~2", f"{folder}/1.jpg", f"{folder}/1.jpg~2")
    ]
    contents = list(archive.fetcher.fetch_all(images, 100))
    assert contents[:2] == [spelled.encode(), raw]


def test_default_keys_of_parquet_files_and_given_ones_are_never_the_same(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"1"]}), tmp_path / "a.parquet")
    given = pa.table({"image": [b"2", b"3"], "key": ["a.parquet/0", "a.parquet/0~b.parquet/0"]})
    pq.write_table(given, tmp_path / "b.parquet")
    assert keys(tmp_path) == [
        *("a.parquet/0", "a.parquet/0~b.parquet/0", "a.parquet/0~b.parquet/0~b.parquet/1")
    ]


def test_default_keys_of_lists_and_given_ones_are_never_the_same(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("key,uri\nl.csv/3,a.jpg\n,b.jpg\n")
    assert keys(tmp_path / "l.csv") == ["l.csv/3", "l.csv/3~2"]


@pytest.mark.parametrize("names", [["a.jpg~3072.png", "a.jpg", "a.jpg", "a.jpg"], ["a"] * 40])
def test_no_choice_of_names_stops_a_tar(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "t.tar").write_bytes(tar_bytes([(name, b"x") for name in names]))
    got = keys(tmp_path / "t.tar")
    assert len(set(got)) == len(names)
    assert got == keys(tmp_path / "t.tar")


def test_no_choice_of_keys_stops_a_parquet_file(tmp_path: Path) -> None:
    table = pa.table({"image": [b"x"] * 4, "key": ["k~ke.parquet/2", "k~e.parquet/2", "k", "k"]})
    pq.write_table(table, tmp_path / "e.parquet")
    assert len(set(keys(tmp_path / "e.parquet"))) == 4


def test_keys_do_not_depend_on_the_patterns(tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(tar_bytes([("a.png", b"1"), ("a.jpg", b"2")]))
    assert keys(tmp_path / "t.tar") == ["t.tar/a", "t.tar/a.jpg"]
    assert keys(tmp_path / "t.tar", options=SourceOptions(exclude=("*.png",))) == ["t.tar/a.jpg"]


def test_two_tars_share_no_key(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("b.tar/x.jpg"))
    (tmp_path / "in" / "a.tar").mkdir(parents=True)
    (tmp_path / "in" / "a.tar" / "b.tar").write_bytes(tar_bytes([("x.jpg", b"1")]))

    (tmp_path / "in" / "z.tar").write_bytes(inner.getvalue())
    got = keys(tmp_path / "in")
    assert len(got) == len(set(got)) == 2
