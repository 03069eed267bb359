"""Files that are no pictures are not read, or only their first bytes."""

import random
from pathlib import Path

import pytest

from pipeline.errors import ImageError, Reason
from pipeline.file_kinds import FileKind
from pipeline.sources import open_archive
from tests.faulty_proxy import FaultyProxy, faulty_proxy
from tests.pipeline.sources.test_tars import tar_bytes
from tests.s3 import TestStore

FILM = b"\0\0\0\x18ftypisom\0\0\2\0isomiso2"
LARGE = 3 * 2**20


def outcomes(
    place: str, max_bytes: int = 2**24
) -> dict[str, bytes | tuple[Reason, FileKind | None]]:
    archive = open_archive([place])
    images = list(archive.list_images())
    contents = archive.fetcher.fetch_all(images, max_bytes)
    return {
        image.key: (content.reason, content.kind) if isinstance(content, ImageError) else content
        for image, content in zip(images, contents, strict=True)
    }


def test_a_name_that_is_certain_is_enough(tmp_path: Path) -> None:
    """Nothing there can be read."""
    (tmp_path / "a.jpg").write_bytes(b"picture")
    for name in ("IMG.MOV", "a.jpg.xmp"):
        (tmp_path / name).symlink_to(tmp_path / "nowhere")
    assert outcomes(str(tmp_path)) == {
        "IMG.MOV": (Reason.NOT_AN_IMAGE, FileKind.VIDEO),
        "a.jpg": b"picture",
        "a.jpg.xmp": (Reason.NOT_AN_IMAGE, FileKind.SIDECAR),
    }


def test_in_a_tar_the_pictures_around_it_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(
        tar_bytes([("a.jpg", b"A"), ("b.mov", b"B"), ("c.jpg", b"C"), ("d.txt", b"D")])
    )
    assert outcomes(str(tmp_path / "t.tar")) == {
        "t.tar/a": b"A",
        "t.tar/b": (Reason.NOT_AN_IMAGE, FileKind.VIDEO),
        "t.tar/c": b"C",
        "t.tar/d": b"D",
    }


@pytest.mark.parametrize(
    ("start", "kind"),
    [(FILM, FileKind.VIDEO), (b"%PDF-1.4", FileKind.DOCUMENT), (b"\x1f\x8b\x08", FileKind.ARCHIVE)],
)
def test_of_a_large_file_without_a_known_ending_the_start_is_enough(
    tmp_path: Path, start: bytes, kind: FileKind
) -> None:
    (tmp_path / "IMG").write_bytes(start + bytes(LARGE))
    assert outcomes(str(tmp_path)) == {"IMG": (Reason.NOT_AN_IMAGE, kind)}


@pytest.mark.parametrize(
    "start", [b"\xff\xd8\xff\xe0", b"\0\0\0\x18ftypMiHB\0\0\0\0mif1heic", b"BM"]
)
def test_a_large_file_that_may_be_a_picture_is_read_to_its_end(
    tmp_path: Path, start: bytes
) -> None:
    content = start + bytes(LARGE)
    (tmp_path / "IMG.txt").write_bytes(content)
    assert outcomes(str(tmp_path)) == {"IMG.txt": content}


def test_one_above_the_limit_is_of_unknown_kind_or_a_picture_that_is_too_large(
    tmp_path: Path,
) -> None:
    (tmp_path / "disk.img").write_bytes(bytes(LARGE))
    (tmp_path / "IMG").write_bytes(b"\xff\xd8\xff\xe0" + bytes(LARGE))
    (tmp_path / "zeros.jpg").write_bytes(bytes(LARGE))
    assert outcomes(str(tmp_path), max_bytes=2**21) == {
        "IMG": (Reason.TOO_LARGE, None),
        "disk.img": (Reason.TOO_LARGE, FileKind.UNKNOWN),
        "zeros.jpg": (Reason.TOO_LARGE, None),
    }


@pytest.mark.s3
def test_on_s3_no_byte_of_a_certain_file_is_read_and_few_of_a_large_film(
    s3: TestStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = s3.new_bucket()
    film = FILM + random.Random(1).randbytes(LARGE)
    s3.put(bucket, {"a.jpg": b"A", "b.mov": film, "c.xmp": b"C", "d": film, "e": b"E"})
    video = (Reason.NOT_AN_IMAGE, FileKind.VIDEO)
    expected = {"b.mov": video, "c.xmp": (Reason.NOT_AN_IMAGE, FileKind.SIDECAR), "d": video}
    with faulty_proxy(FaultyProxy(s3.endpoint, share=0.0)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        archive = open_archive([f"s3://{bucket}/"])
        images = list(archive.list_images())
        before = proxy.num_requests
        contents = list(archive.fetcher.fetch_all(images, 2**24))
        assert proxy.num_requests - before == 3  # a.jpg, the start of d, e
        found = dict(zip((image.key for image in images), contents, strict=True))
        assert {key: found[key] for key in ("a.jpg", "e")} == {"a.jpg": b"A", "e": b"E"}
        for key, outcome in expected.items():
            error = found[key]
            assert isinstance(error, ImageError)
            assert (error.reason, error.kind) == outcome
        (tmp_path / "list.txt").write_text(f"s3://{bucket}/b.mov\ns3://{bucket}/d\n")
        got = outcomes(str(tmp_path / "list.txt"))
    assert list(got.values()) == [video, video]
