import os
from pathlib import Path

import pytest

from pipeline.errors import ImageError, Reason, UsageError
from pipeline.sources.folder import FolderSource
from pipeline.storage import read_file


def touch(path: Path, content: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def keys(source: FolderSource) -> list[str]:
    return [image.key for image in source.list_images()]


def test_keys_are_relative_and_ascend_over_the_whole_tree(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/z.jpg", "a-1.jpg", "a.jpg", "a/b/c.png", "ä.jpg", "Z.jpg"):
        touch(tmp_path / name)
    got = keys(FolderSource(str(tmp_path)))
    assert got == sorted(got)
    assert set(got) == {"b.jpg", "a/z.jpg", "a-1.jpg", "a.jpg", "a/b/c.png", "ä.jpg", "Z.jpg"}


def test_hidden_files_and_file_manager_caches_are_skipped(tmp_path: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", ".git/x.jpg", "a.jpg"):
        touch(tmp_path / name)
    assert keys(FolderSource(str(tmp_path))) == ["a.jpg"]


def test_names_with_quotes_newlines_percent_signs_and_wrong_encodings_are_read(
    tmp_path: Path,
) -> None:
    names = [b'it\'s "it".jpg', b"line\nbreak.jpg", b"100%25.jpg", b"caf\xe9.jpg", b"q?#.jpg"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    source = FolderSource(str(tmp_path))
    images = list(source.list_images())
    assert {read_file(image.uri, 1000) for image in images} == set(names)
    for image in images:
        image.key.encode("utf-8")


def test_a_link_back_to_a_folder_above_is_not_followed_for_ever(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "x.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert "a/x.jpg" in keys(FolderSource(str(tmp_path)))


def test_one_odd_entry_does_not_hide_its_neighbours(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    (tmp_path / "ln").symlink_to("ln")
    assert keys(FolderSource(str(tmp_path))) == ["a.jpg", "ln"]


def test_a_folder_that_cannot_be_listed_is_a_dead_letter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fake refuses, because the tests may run as root, which may list everything."""
    touch(tmp_path / "a" / "x.jpg")
    touch(tmp_path / "b.jpg")
    scandir = os.scandir

    def refusing(path: bytes) -> object:
        if path.endswith(b"/a"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    monkeypatch.setattr(os, "listdir", refusing)
    source = FolderSource(str(tmp_path))
    assert keys(source) == ["a/", "b.jpg"]
    with pytest.raises(ImageError, match="Permission denied"):
        read_file(next(source.list_images()).uri, 1000)


def test_names_that_are_no_utf_8_never_share_a_key(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    for name in (b"a\xff", b"a\xfe", b"a%ff", b"a\\xff"):
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(name)
    got = keys(FolderSource(str(tmp_path)))
    assert len(got) == len(set(got)) == 4
    assert {"a%ff", "a\\xff"} <= set(got)


def test_the_output_inside_the_archive_is_skipped(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    touch(tmp_path / "out" / "tags" / "part.parquet")
    assert keys(FolderSource(str(tmp_path), tmp_path / "out")) == ["a.jpg"]


def test_a_dangling_link_is_listed_and_fails_when_fetched(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    source = FolderSource(str(tmp_path))
    (image,) = source.list_images()
    with pytest.raises(ImageError) as raised:
        read_file(image.uri, 1000)
    assert raised.value.reason == Reason.FETCH_FAILED


def test_a_file_longer_than_the_limit_is_not_read(tmp_path: Path) -> None:
    touch(tmp_path / "big.jpg", bytes(2000))
    source = FolderSource(str(tmp_path))
    (image,) = source.list_images()
    with pytest.raises(ImageError) as raised:
        read_file(image.uri, 1000)
    assert raised.value.reason == Reason.TOO_LARGE


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_location_that_is_no_folder_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    if kind == "file":
        touch(path)
    with pytest.raises(UsageError, match="thing"):
        FolderSource(str(path))
