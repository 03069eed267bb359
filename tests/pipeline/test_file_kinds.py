"""What is certainly no picture by its name, and what kind the bytes of other files are."""

import io
import tarfile
import zipfile

import pytest
from PIL import Image

from pipeline.decoding.formats import FORMATS
from pipeline.errors import ImageError, Reason
from pipeline.file_kinds import FileKind, is_picture_name, kind_of, named_kind
from pipeline.records import ImageRecord, OtherFile, ParquetRow, TarMember, Unreadable, unpredicted


def zipped(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, "x" * 50)
    return stream.getvalue()


def tarred() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("IMG_1.MOV", FileKind.VIDEO),
        ("IMG_1.jpg.xmp", FileKind.SIDECAR),
        ("IMG_1.AAE", FileKind.SIDECAR),
        ("IMG_1.jpg.json", FileKind.SIDECAR),
        ("Thumbs.db", FileKind.DATABASE),
        (".DS_Store", FileKind.DATABASE),
        ("letter.docx", FileKind.DOCUMENT),
        ("backup.tar.gz", FileKind.ARCHIVE),
    ],
)
def test_some_endings_are_certain(name: str, kind: FileKind) -> None:
    assert named_kind(name) is kind
    assert not is_picture_name(name)


@pytest.mark.parametrize(
    "name",
    ["IMG", "IMG.txt", "photo.php", "a.jpg.bak", "a.jpg~", "page.html", "x.dat", "a.THM", ""],
)
def test_any_other_ending_leaves_it_to_the_content(name: str) -> None:
    assert named_kind(name) is None
    assert not is_picture_name(name)


def test_every_ending_of_a_format_that_is_opened_is_one_of_a_picture() -> None:
    """Except for one of TGA that Visio has, too."""
    Image.init()
    of_formats = {end for end, name in Image.registered_extensions().items() if name in FORMATS}
    certain = {ending for ending in of_formats if named_kind(f"a{ending}") is not None}
    unsure = {ending for ending in of_formats - certain if not is_picture_name(f"a{ending}")}
    assert (certain, unsure) == (set(), {".vst"})


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(99), FileKind.VIDEO),
        (b"\0\0\0\x08wide\0\0\0\x10mdat" + bytes(99), FileKind.VIDEO),
        (b"RIFF\x24\0\0\0AVI LIST" + bytes(99), FileKind.VIDEO),
        (b"\x1aE\xdf\xa3" + bytes(99), FileKind.VIDEO),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(99), FileKind.AUDIO),
        (b"\0\0\0\x1cftypM4A \0\0\0\0" + bytes(99), FileKind.AUDIO),
        (b"SQLite format 3\0" + bytes(99), FileKind.DATABASE),
        (b"%PDF-1.4\n", FileKind.DOCUMENT),
        (zipped("[Content_Types].xml", "word/document.xml"), FileKind.DOCUMENT),
        (zipped("a.txt", "b.txt"), FileKind.ARCHIVE),
        (tarred(), FileKind.ARCHIVE),
        (b"PAR1" + bytes(99), FileKind.DATA),
        (b"\x7fELF\2\1\1" + bytes(99), FileKind.PROGRAM),
        (b"<!DOCTYPE html><html></html>", FileKind.TEXT),
        (b'{"title": "IMG_1.jpg"}', FileKind.TEXT),
        ("Äpfel und Birnen\n".encode("utf-16"), FileKind.TEXT),
        ("Äpfel und Birnen\n".encode("latin-1"), FileKind.TEXT),
        (b"x" + "日本語".encode() * 2000, FileKind.TEXT),  # 4096 bytes end within a character
        (b"BM is the name of a bitmap\n", FileKind.TEXT),
        (b"P1 may be a picture in letters\n", FileKind.UNKNOWN),
        (bytes(99), FileKind.UNKNOWN),
        (bytes(range(128, 256)), FileKind.UNKNOWN),
        (b"", FileKind.UNKNOWN),
    ],
)
def test_the_kind_of_a_content(content: bytes, kind: FileKind) -> None:
    assert kind_of(content) is kind


HTML = ImageError(Reason.NOT_AN_IMAGE, "a page", FileKind.TEXT)
ROW = ParquetRow("file:///t.parquet", "image", 0, 0)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (ImageRecord("a.jpg", "file:///a.jpg", 9), None),
        (ImageRecord("A.JPEG", "file:///A.JPEG", 9), None),
        (ImageRecord("a", "file:///a", 9), FileKind.TEXT),
        (ImageRecord("list.txt/1", "s3://b/c.jpg", 0), None),
        (ImageRecord("list.txt/1", "s3://b/c.html", 0), FileKind.TEXT),
        (ImageRecord("t.tar/a", "t.tar#x/a.png", 9, None, TarMember("t.tar", 512)), None),
        (ImageRecord("t.tar/a", "t.tar#x/a.txt", 9, None, TarMember("t.tar", 512)), FileKind.TEXT),
        (ImageRecord("t.parquet/0", "file:///t.parquet#0", 0, "e", ROW), None),
        (ImageRecord("x/a.jpg", "file:///t.parquet#0", 0, "e", ROW), None),
        (ImageRecord("x/a.txt", "file:///t.parquet#0", 0, "e", ROW), FileKind.TEXT),
        (ImageRecord("x/a.xmp", "file:///t.parquet#0", 0, "e", ROW), FileKind.SIDECAR),
        (ImageRecord("folder.mov/", "file:///folder.mov", 0), None),
        (
            ImageRecord("a.mov", "t.tar#a.mov", 0, None, Unreadable("t", Reason.TRUNCATED, "cut")),
            None,
        ),
    ],
)
def test_what_is_named_like_a_picture_or_counts_as_one_is_a_dead_letter(
    image: ImageRecord, kind: FileKind | None
) -> None:
    outcome = unpredicted(image, "shard", HTML)
    assert (outcome.kind if isinstance(outcome, OtherFile) else None) is kind


def test_what_may_be_a_damaged_picture_is_a_dead_letter_whatever_its_name() -> None:
    image = ImageRecord("a", "file:///a", 9)
    cut = unpredicted(image, "shard", ImageError(Reason.TRUNCATED, "cut"))
    assert not isinstance(cut, OtherFile)


def test_sizes_that_the_listing_does_not_know_are_null() -> None:
    sizes = []
    for size_bytes, etag in ((9, None), (9, "e"), (0, "e"), (0, None)):
        outcome = unpredicted(ImageRecord("a", "file:///a", size_bytes, etag), "shard", HTML)
        assert isinstance(outcome, OtherFile)
        sizes.append(outcome.size_bytes)
    assert sizes == [9, 9, 0, None]
