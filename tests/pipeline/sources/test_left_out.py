"""What lies in archives and belongs to no one: caches, recycle bins, outputs, links in circles."""

import io
import logging
import os
import tarfile
from pathlib import Path

import pytest

from pipeline.sources import SourceOptions, open_archive
from pipeline.sources.folder import FolderSource
from tests.s3 import TestStore

CACHES = [
    *("@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "@__thumb/s100.jpg", "#recycle/2.jpg"),
    *("$RECYCLE.BIN/3.jpg", ".Trash-1000/files/4.jpg", "__MACOSX/._5.jpg", "lost+found/6.jpg"),
    *("My Previews.lrdata/7.jpg", "P.photoslibrary/resources/derivatives/8.jpg"),
    *("THUMBS.DB", "Desktop.ini", "Picasa.ini", "a/@EADIR/9.jpg"),
]
PICTURES = ["1.jpg", "P.photoslibrary/originals/0/8.jpg", "a/2.jpg"]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def keys(
    *inputs: object, options: SourceOptions | None = None, out: Path | None = None
) -> list[str]:
    archive = open_archive([str(i) for i in inputs], options, out)
    return [image.key for image in archive.list_images()]


@pytest.mark.parametrize("place", ["folder", "s3", "tar"])
def test_caches_and_recycle_bins_are_left_out_and_counted(
    tmp_path: Path, s3: TestStore, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    touch(tmp_path / "in", *CACHES, *PICTURES)
    location = str(tmp_path / "in")
    expected, everything = PICTURES, sorted(CACHES + PICTURES)
    if place == "s3":
        bucket = s3.new_bucket()
        s3.put(bucket, {f"p/{name}": b"x" for name in CACHES + PICTURES})
        location = f"s3://{bucket}/p/"
    if place == "tar":
        location = str(tmp_path / "t.tar")
        with tarfile.open(location, "w") as archive:
            for name in CACHES + PICTURES:
                archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        expected = [f"t.tar/{name.removesuffix('.jpg')}" for name in expected]
    with caplog.at_level(logging.INFO):
        assert keys(location) == expected
    (line,) = [record.getMessage() for record in caplog.records if "left out" in record.message]
    assert "left out 13 files and folders (#recycle, $RECYCLE.BIN, .*, " in line
    assert line.endswith("--all-files takes them")
    got = keys(location, options=SourceOptions(all_files=True))
    assert len(got) == len(everything)
    assert place == "tar" or got == everything


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_an_output_of_an_earlier_run_is_left_out(tmp_path: Path, s3: TestStore, place: str) -> None:
    output = [
        *(".runs/00000001.json", "_SUCCESS", "dead_letters/p.parquet", "run.json"),
        *("shards/_delta_log/0.json", "summary.json", "tags/_delta_log/0.json", "tags/p.parquet"),
    ]
    names = [*(f"sub/tagged/{name}" for name in output), "a.jpg", "sub/b.jpg", "z/run.json"]
    touch(tmp_path / "in", *names)
    location = str(tmp_path / "in")
    if place == "s3":
        bucket = s3.new_bucket()
        s3.put(bucket, {f"p/{name}": b"x" for name in names})
        location = f"s3://{bucket}/p/"
    assert keys(location) == ["a.jpg", "sub/b.jpg", "z/run.json"]


def test_the_output_is_left_out_where_a_link_leads_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.jpg", "else/out/tags/p.parquet", "else/b.jpg")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "else")
    assert keys(tmp_path / "in", out=tmp_path / "else" / "out") == ["a.jpg", "link/b.jpg"]


def test_folders_that_link_to_each_other_are_visited_once(tmp_path: Path) -> None:
    for name in "abcdef":
        touch(tmp_path / "in", f"{name}/{name}.jpg")
        for other in "abcdef":
            (tmp_path / "in" / name / f"to-{other}").symlink_to(tmp_path / "in" / other)
    (tmp_path / "in" / "0").symlink_to("f")
    assert keys(tmp_path / "in") == [f"{name}/{name}.jpg" for name in "abcdef"]
    from_outside = keys(tmp_path / "in" / "0")
    assert sorted(key[-5:] for key in from_outside) == [f"{name}.jpg" for name in "abcdef"]
    assert keys(f"{tmp_path}/in/0*/*.jpg") == ["0/f.jpg"]


def test_a_link_to_a_hidden_folder_is_followed(tmp_path: Path) -> None:
    touch(tmp_path, ".store/a.jpg")
    (tmp_path / "photos").symlink_to(".store")
    assert keys(tmp_path) == ["photos/a.jpg"]


def test_a_tree_deeper_than_the_stack_is_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "in/top.jpg")
    monkeypatch.chdir(tmp_path / "in")
    for _ in range(1100):
        Path("d").mkdir()
        os.chdir("d")
    Path("deep.jpg").write_bytes(b"x")
    deep = "d/" * 1100 + "deep.jpg"
    assert [image.key for image in FolderSource(tmp_path / "in").list_images()] == [deep, "top.jpg"]
    assert keys(f"{tmp_path}/in/**/*.jpg") == [deep, "top.jpg"]
    Path("deep.jpg").unlink()
    for _ in range(1100):  # too deep for pytest's own removal
        os.chdir("..")
        Path("d").rmdir()
