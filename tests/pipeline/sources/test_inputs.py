"""What INPUT arguments may be, alone and together."""

import os
from pathlib import Path

import pytest

from pipeline.errors import ImageError, UsageError
from pipeline.settings import TagSettings
from pipeline.sources import SourceOptions, open_archive
from tests.s3 import TestStore


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def keys(*inputs: object, options: SourceOptions | None = None) -> list[str]:
    return [image.key for image in open_archive([str(i) for i in inputs], options).list_images()]


def test_one_file_a_glob_and_a_range_have_keys_relative_to_their_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "a/2.jpg", "a/2.png", "b/1.jpg", "b/c/3.jpg", "x/[1].jpg", "d.jpg")
    assert keys(tmp_path / "a/1.jpg") == ["1.jpg"]
    assert keys(tmp_path / "a/*.jpg") == ["1.jpg", "2.jpg"]
    assert keys(tmp_path / "?/*.jpg") == ["a/1.jpg", "a/2.jpg", "b/1.jpg", "x/[1].jpg"]
    assert keys(tmp_path / "**/*.jpg") == [
        *("a/1.jpg", "a/2.jpg", "b/1.jpg", "b/c/3.jpg", "d.jpg", "x/[1].jpg")
    ]
    assert keys(tmp_path / "[ab]*") == ["a/1.jpg", "a/2.jpg", "a/2.png", "b/1.jpg", "b/c/3.jpg"]
    assert keys(tmp_path / "a/{1..2}.jpg") == ["1.jpg", "2.jpg"]
    assert keys(tmp_path / "?/{2..3}.*") == ["a/2.jpg", "a/2.png"]
    assert keys(tmp_path / "x/[1].jpg") == ["[1].jpg"], (
        "a file of that name takes precedence over the glob"
    )
    assert keys(f"file://{tmp_path}/a") == ["1.jpg", "2.jpg", "2.png"]


def test_a_relative_path_and_a_home_folder_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a/1.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keys("a") == keys("~/a") == keys("a/*") == ["1.jpg"]
    assert open_archive(["a"]).names == (tmp_path.as_uri() + "/a",)


@pytest.mark.parametrize("folder", ["Photos [2019]", "a {001..002}", "x*y", "why?"])
def test_a_folder_that_is_there_is_taken_as_it_is(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, f"{folder}/1.jpg", f"{folder}/b/2.jpg", f"{folder}/3.png")
    assert keys(tmp_path / folder / "*.jpg") == ["1.jpg"]
    assert keys(tmp_path / folder / "**/*.jpg") == ["1.jpg", "b/2.jpg"]
    assert keys(tmp_path / folder / "{1..1}.jpg") == ["1.jpg"]


def test_a_prefix_with_brackets_is_taken_as_it_is(s3: TestStore) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, {"Photos [2019]/1.jpg": b"1", "Photos [2019]/b/2.jpg": b"2"})
    assert keys(f"s3://{bucket}/Photos [2019]") == ["1.jpg", "b/2.jpg"]
    assert keys(f"s3://{bucket}/Photos [2019]/*.jpg") == ["1.jpg"]


def test_a_message_says_how_to_escape_wildcards(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].jpg", "ab.png")
    assert keys(tmp_path / "a[[]1*") == ["a[1].jpg"]
    with pytest.raises(UsageError, match=r"is written \[\[\], \[\*\] or \[\?\]"):
        keys(tmp_path / "*[1].*")


@pytest.mark.parametrize("name", [b"caf\xe9", b"caf\xe9/in", b"caf\xe9 [1]"])
def test_a_folder_whose_name_is_no_utf_8_is_read(tmp_path: Path, name: bytes) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    touch(folder, "1.jpg", "a/2.jpg")
    for text, count in ((folder, 2), (folder / "*.jpg", 1), (folder / "{1..1}.jpg", 1)):
        archive = open_archive([str(text)])
        images = list(archive.list_images())
        assert [image.key for image in images] == ["1.jpg", "a/2.jpg"][:count]
        assert not isinstance(next(archive.fetcher.fetch_all(images, 100)), ImageError)
        "".join(archive.names).encode()
        (stored,) = TagSettings(input=(str(text),), out="out").input
        assert keys(stored.encode().decode()) == ["1.jpg", "a/2.jpg"][:count]
        if count == 2:
            assert keys(*archive.names) == ["1.jpg", "a/2.jpg"]


def test_several_inputs_get_the_shortest_different_prefixes(tmp_path: Path) -> None:
    touch(tmp_path, "m/photos/1.jpg", "n/photos/1.jpg", "more/1.jpg", "other.jpg")
    assert sorted(keys(tmp_path / "m/photos", tmp_path / "more")) == ["more/1.jpg", "photos/1.jpg"]
    assert sorted(keys(tmp_path / "m/photos", tmp_path / "n/photos")) == [
        *("m/photos/1.jpg", "n/photos/1.jpg")
    ]
    one_way = keys(tmp_path / "m/photos", tmp_path / "n/photos")
    assert one_way == keys(tmp_path / "n/photos", tmp_path / "m/photos"), (
        "the order does not matter"
    )
    assert len([*open_archive([str(tmp_path / "more"), str(tmp_path / "m")]).list_images()]) == 2


def test_prefixes_are_names_and_not_parts_of_uris(tmp_path: Path) -> None:
    touch(tmp_path, "Photos [2019]/1.jpg", "Übung 100%/1.jpg")
    found = keys(tmp_path / "Photos [2019]", tmp_path / "Übung 100%")
    assert sorted(found) == ["Photos [2019]/1.jpg", "Übung 100%/1.jpg"]


def test_files_that_a_shell_has_expanded_are_one_source(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{n}.jpg" for n in range(12)))
    archive = open_archive([str(tmp_path / f"{n}.jpg") for n in range(12)])
    assert [i.key for i in archive.list_images()] == sorted(f"{n}.jpg" for n in range(12))
    assert len(archive.names) == 12


def test_patterns_select_by_key_and_exclusion_wins(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "a/2.png", "b/1.jpg", "c.txt", "d.JPG")
    only = SourceOptions(include=("*.jpg", "*.png"), exclude=("b/*",))
    assert keys(tmp_path, options=only) == ["a/1.jpg", "a/2.png"]
    assert len([*open_archive([str(tmp_path)], only).list_images()]) == 2
    assert keys(tmp_path, options=SourceOptions(exclude=("*.txt",)))[-1] == "d.JPG"


def test_a_list_of_uris_as_text_or_csv(tmp_path: Path) -> None:
    touch(tmp_path, "p/1.jpg", "p/ä 2.jpg", "p/#3?.jpg")
    (tmp_path / "list.txt").write_text(f"p/1.jpg\n\n{tmp_path}/p/ä 2.jpg\r\nnowhere.jpg\np/#3?.jpg")
    archive = open_archive([str(tmp_path / "list.txt")])
    images = list(archive.list_images())
    assert [i.key for i in images] == [f"list.txt/{line}" for line in (1, 3, 4, 5)]
    contents = list(archive.fetcher.fetch_all(images, 1000))
    assert contents[:2] == [b"p/1.jpg", "p/ä 2.jpg".encode()]
    assert contents[3] == b"p/#3?.jpg"
    assert "No such file" in str(contents[2])
    (tmp_path / "list.csv").write_text('key,uri\none,p/1.jpg\none,"p/ä 2.jpg"\n,p/1.jpg\n')
    archive = open_archive([str(tmp_path / "list.csv")])
    assert [i.key for i in archive.list_images()] == ["one", "one~list.csv/3", "list.csv/4"]
    (tmp_path / "bad.csv").write_text("link\nx\n")
    with pytest.raises(UsageError, match="must have a column uri, url, path"):
        open_archive([str(tmp_path / "bad.csv")])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.txt", "# pictures\r\n\"p/ä 2.jpg\"\r\n'p/1.jpg'\r\n"),
        ("l.csv", 'key,URI\r\na,"p/ä 2.jpg"\r\nb,p/1.jpg\r\n'),
        ("l.csv", 'Path;Key\r\n"p/ä 2.jpg";a\r\np/1.jpg;b\r\n'),
        ("l.tsv", "url\tother\tkey\np/ä 2.jpg\t1,2\ta\np/1.jpg\t\tb\n"),
    ],
)
def test_lists_are_read_as_people_write_them(
    tmp_path: Path, name: str, text: str, encoding: str
) -> None:
    touch(tmp_path, "p/1.jpg", "p/ä 2.jpg")
    (tmp_path / name).write_bytes(text.encode(encoding))
    archive = open_archive([str(tmp_path / name)])
    images = list(archive.list_images())
    expected = ["l.txt/2", "l.txt/3"] if name == "l.txt" else ["a", "b"]
    assert [image.key for image in images] == expected
    contents = list(archive.fetcher.fetch_all(images, 1000))
    assert contents == ["p/ä 2.jpg".encode(), b"p/1.jpg"]


def test_odd_bytes_in_a_list_are_read_as_they_are(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.jpg\ns3://b/caf\xe9\n")
    archive = open_archive([str(tmp_path / "list.txt")])
    images = list(archive.list_images())
    for image in images:
        image.uri.encode("utf-8")
    assert next(archive.fetcher.fetch_all(images[:1], 10)) == b"x"


@pytest.mark.parametrize(
    ("inputs", "word"),
    [
        (["nowhere"], "no such folder or file"),
        (["nowhere/*.jpg"], "no such folder or file"),
        (["*.tif"], "nothing matches"),
        (["a-{3..1}.tar"], "a range must not go down"),
        (["a-{0..999999}.tar"], "at most 100,000 names"),
        (["{8..9}*.jpg"], "nothing matches"),
        (["1.jpg", "1.jpg"], "given twice"),
        (["*.jpg", "1.*"], "may hold the same files"),
        ([".", "sub"], "may hold the same files"),
        (["s*", "sub"], "may hold the same files"),
        ([".", "sub/*.jpg"], "may hold the same files"),
        (["*.jpg", "sub/link"], "may hold the same files"),
        (["a.csv", "1.jpg"], "may have the same keys"),
        (["a\0b"], "no such folder or file"),
        (["ftp://host/x"], "cannot be read"),
    ],
)
def test_wrong_inputs_are_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: list[str], word: str
) -> None:
    touch(tmp_path, "1.jpg", "2.jpg", "sub/3.jpg")
    (tmp_path / "sub" / "link").symlink_to(tmp_path)
    (tmp_path / "a.csv").write_text("uri\n1.jpg\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"^input: .*{word}") as raised:
        open_archive(inputs)
    assert "\n" not in str(raised.value)


def test_names_determine_the_format_of_a_folder_unless_it_is_given(tmp_path: Path) -> None:
    touch(tmp_path, "0.tar", "0.parquet", "0_stats.json")
    assert open_archive([str(tmp_path)]).names[0].startswith("webdataset:")
    as_files = SourceOptions(input_format="files")
    assert keys(tmp_path, options=as_files) == ["0.parquet", "0.tar", "0_stats.json"]
    touch(tmp_path, "cover.jpg")
    assert keys(tmp_path) == ["0.parquet", "0.tar/", "0_stats.json", "cover.jpg"]
