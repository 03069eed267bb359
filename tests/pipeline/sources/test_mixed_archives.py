"""Tars and zips beside pictures and in lists."""

import gzip
from pathlib import Path

import pytest

from pipeline.errors import ImageError, Reason, UsageError
from pipeline.sources import open_archive
from pipeline.sources.options import SourceOptions
from tests.pipeline.sources.test_tars import fetched, tar_bytes
from tests.pipeline.sources.test_zips import PICTURES, zip_bytes


def test_tars_and_zips_beside_pictures_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/b.tar", "c.tar.gz"):
        content = tar_bytes(list(PICTURES.items()))
        (tmp_path / name).write_bytes(gzip.compress(content) if name == "c.tar.gz" else content)
    (tmp_path / "d.zip").write_bytes(zip_bytes(PICTURES))
    for name in ("a/a.jpg", "a/c.jpg", "z.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    tars = ("a/b.tar", "c.tar.gz", "d.zip")
    inside = {f"{tar}/{name[:-4]}": value for tar in tars for name, value in PICTURES.items()}
    beside = {name: name.encode() for name in ("a/a.jpg", "a/c.jpg", "z.jpg")}
    archive = open_archive([str(tmp_path)])
    assert fetched(archive) == inside | beside
    assert archive.is_cheap_to_list
    as_files = fetched(open_archive([str(tmp_path)], SourceOptions(input_format="files")))
    assert set(as_files) == {*tars, *beside}


def test_a_picture_behind_a_thousand_tars_is_read_and_other_files_are_not(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"{number:04}.tar").write_bytes(tar_bytes([("a.jpg", b"a")]))
    (tmp_path / "cover.jpg").write_bytes(b"cover")
    (tmp_path / "index.json").write_bytes(b"{}")
    keys = [image.key for image in open_archive([str(tmp_path)]).list_images()]
    assert keys == [*(f"{number:04}.tar/a" for number in range(1000)), "cover.jpg"]


@pytest.mark.parametrize("name", ["list.txt", "list.csv"])
def test_tars_and_zips_in_a_list_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "t 1.tar").write_bytes(tar_bytes(list(PICTURES.items())))
    (tmp_path / "u.zip").write_bytes(zip_bytes(PICTURES))
    (tmp_path / "a.jpg").write_bytes(b"a")
    lines = [*(["path"] if name == "list.csv" else []), "t 1.tar", "a.jpg", "u.zip", "gone.tar"]
    (tmp_path / name).write_text("\n".join(lines))
    got = fetched(open_archive([str(tmp_path / name)]))
    first = lines.index("t 1.tar") + 1
    inside = {
        f"{name}/{line}/{picture[:-4]}": content
        for line in (first, first + 2)
        for picture, content in PICTURES.items()
    }
    missing = got.pop(f"{name}/{first + 3}/")
    assert got == inside | {f"{name}/{first + 1}": b"a"}
    assert isinstance(missing, ImageError)
    assert missing.reason == Reason.FETCH_FAILED


@pytest.mark.parametrize(
    ("inputs", "is_refused"),
    [
        ([".", "a.tar"], True),
        (["*", "a.tar"], True),
        ([".", "sub/b.tar"], True),
        (["*.jpg", "a.tar"], False),
        (["*.jpg", "*.tar"], False),
        (["1.jpg", "a.tar"], False),
        (["*", "*.tar"], True),
    ],
)
def test_a_tar_inside_another_input_is_refused(
    tmp_path: Path, inputs: list[str], is_refused: bool
) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.tar", "sub/b.tar"):
        (tmp_path / name).write_bytes(tar_bytes([("x.jpg", b"x")]))
    (tmp_path / "1.jpg").write_bytes(b"1")
    given = [f"{tmp_path}/{text}" for text in inputs]
    if is_refused:
        with pytest.raises(UsageError, match=r"^input: .* may hold the same files"):
            open_archive(given)
    else:
        assert set(fetched(open_archive(given))) == {"1.jpg", "a.tar/x"}
