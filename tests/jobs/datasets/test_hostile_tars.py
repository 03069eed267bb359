"""Untrusted tars: nothing leaves the archive, nothing is written, damage is reported."""

import io
import tarfile
from pathlib import Path

import pytest

from jobs.datasets import Sample, open_labelled
from pipeline.decoding import DecodeSettings
from pipeline.errors import UsageError
from pipeline.sources.tar import MAX_SIDECAR_BYTES
from tests.jobs.datasets.conftest import File, write_tar


def samples(path: Path) -> list[Sample]:
    return list(open_labelled(str(path)).samples())


def test_links_and_devices_are_unreadable_and_names_never_lead_out(
    tmp_path: Path, files: list[File]
) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(files[0].content)
    path = tmp_path / "in" / "a.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w") as archive:
        for name, kind, target in (
            ("cat/link.jpg", tarfile.SYMTYPE, str(secret)),
            ("cat/hard.jpg", tarfile.LNKTYPE, str(secret)),
            ("cat/device.jpg", tarfile.CHRTYPE, ""),
            ("cat/pipe.jpg", tarfile.FIFOTYPE, ""),
            ("cat", tarfile.DIRTYPE, ""),
            ("cat/good.jpg", tarfile.REGTYPE, ""),
            ("/cat/absolute.jpg", tarfile.REGTYPE, ""),
            ("cat/../../outside.jpg", tarfile.REGTYPE, ""),
            ("cat/._good.jpg", tarfile.REGTYPE, ""),
            ("cat/notes.pdf", tarfile.REGTYPE, ""),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, target
            entry.size = len(files[0].content) if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(files[0].content))
    before = sorted(tmp_path.rglob("*"))
    source = open_labelled(str(path))
    (batch,) = source.batches(DecodeSettings(resize=48, crop=48))
    assert sorted(tmp_path.rglob("*")) == before
    assert [(key, label.text) for key, label in zip(batch.keys, batch.labels, strict=True)] == [
        ("a.tar/cat/good", "cat"),
        ("a.tar/cat/absolute", "cat"),
    ]
    assert batch.num_unreadable == 4


def test_a_picture_that_is_too_long_is_unreadable_and_a_label_is_refused(
    tmp_path: Path, files: list[File]
) -> None:
    content = files[0].content
    members = [("cat/a.jpg", content + bytes(5000)), ("cat/b.jpg", content)]
    source = open_labelled(str(write_tar(tmp_path / "a.tar", members)))
    settings = DecodeSettings(resize=48, crop=48, max_bytes=len(content))
    (batch,) = source.batches(settings)
    assert (batch.keys, batch.num_unreadable) == (("a.tar/cat/b",), 1)
    label = b"1" * (MAX_SIDECAR_BYTES + 1)
    path = write_tar(tmp_path / "b.tar", [("a.jpg", b"y"), ("a.cls", label)])
    with pytest.raises(UsageError, match=r"b\.tar#a\.cls is too long"):
        samples(path)


def test_a_name_of_many_megabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Zeros shrink to nothing in a compressed tar; a name of them would fill the memory."""
    path = tmp_path / "names.tar.gz"
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2 << 20
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(header, io.BytesIO(bytes(header.size)))
        archive.addfile(tarfile.TarInfo("a.jpg"))
    with pytest.raises(UsageError, match=r"names\.tar\.gz: the file cannot be read.*2,097,152"):
        samples(path)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5])
def test_a_tar_that_is_cut_off_is_refused(
    tmp_path: Path, files: list[File], name: str, share: float
) -> None:
    path = write_tar(tmp_path / name, [(f"cat/{file.name}", file.content) for file in files])
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UsageError, match="the file cannot be read"):
        samples(path)


@pytest.mark.parametrize(
    ("content", "word"),
    [(b"{", "not valid JSON"), (b'{"label": 1.5}', "1.5"), (b"[" * 10**6, "not valid")],
)
def test_a_json_label_that_is_not_valid_is_refused(
    tmp_path: Path, content: bytes, word: str
) -> None:
    path = write_tar(tmp_path / "a.tar", [("a.jpg", b"x"), ("a.json", content)])
    with pytest.raises(UsageError, match=word):
        samples(path)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_pictures_that_would_share_one_label_are_refused(tmp_path: Path, position: int) -> None:
    members = [("a.left.jpg", b"x"), ("a.right.jpg", b"x")]
    members.insert(position, ("a.cls", b"1"))
    with pytest.raises(UsageError, match="one label but several pictures"):
        samples(write_tar(tmp_path / "a.tar", members))


def test_names_with_dots_are_labelled_by_their_folders_and_have_keys_of_their_own(
    tmp_path: Path,
) -> None:
    members = [(f"cat/IMG.{n}.jpg", b"x") for n in range(3)] + [("IMG.9.jpg", b"x")]
    found = samples(write_tar(tmp_path / "a.tar", members))
    assert [sample.key for sample in found] == [f"a.tar/cat/IMG.{n}" for n in range(3)]


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_the_folder_names_the_class_only_where_no_file_does(tmp_path: Path, ending: str) -> None:
    """.cls goes before .json, .json before .txt; "008" is the number 8."""
    members = [
        ("cat/a.jpg", b"x"),
        ("cat/b.jpg", b"x"),
        ("cat/b.txt", b"dog\n"),
        ("cat/c.jpg", b"x"),
        ("cat/c.txt", b"a caption"),
        ("cat/c.json", b'{"label": 4, "label_name": "bird"}'),
        ("cat/d.cls", b"008".ljust(512)),  # content that ends where the next header starts
        ("cat/d.jpg", b"x"),
        ("cat/d.json", b'{"label": 4}'),
        ("cat/d.jpg.json", b'{"label": 5}'),
        ("loose.jpg", b"x"),
    ]
    found = samples(write_tar(tmp_path / f"a.{ending}", members))
    assert [sample.label.text for sample in found] == ["cat", "dog", "bird", "8"]
    assert found[2].label.number == 4
