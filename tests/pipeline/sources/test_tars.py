"""Tars: listed by their headers, read by ranges, not trusted."""

import gzip
import io
import pickle
import struct
import tarfile
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pytest

from pipeline.errors import ImageError, Reason, UsageError
from pipeline.records import TarMember
from pipeline.sources import Archive, SourceOptions, open_archive
from pipeline.sources.sharding import cut_shards
from pipeline.sources.tar_entries import entries
from pipeline.storage.range_file import RangeFile
from tests.s3 import TestStore

Members = Sequence[tuple[str, bytes]]


def tar_bytes(members: Members, format: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


def packed(content: bytes, kind: str) -> bytes:
    if kind == "plain":
        return content
    if kind == "gzip":
        half = len(content) // 2
        return gzip.compress(content[:half]) + gzip.compress(content[half:])  # as pigz may do
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    result: bytes = sink.getvalue().to_pybytes()
    return result


def fetched(archive: Archive, max_bytes: int = 2**24) -> dict[str, bytes | ImageError]:
    images = list(archive.list_images())
    fetcher = pickle.loads(pickle.dumps(archive.fetcher))
    return dict(
        zip((image.key for image in images), fetcher.fetch_all(images, max_bytes), strict=True)
    )


def reasons(got: dict[str, bytes | ImageError]) -> dict[str, str]:
    return {key: value.reason for key, value in got.items() if isinstance(value, ImageError)}


PICTURES = [(f"class/{n:03}.jpg", bytes([n]) * (900 * n + 1)) for n in range(60)]
WITH_LABELS = [
    member
    for name, content in PICTURES
    for member in [(name, content), (name.replace("jpg", "cls"), b"1"), (f"{name}.json", b"{}")]
]


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz", ".tar.zst"])
@pytest.mark.parametrize("place", ["local", "s3"])
def test_pictures_are_listed_and_read_whatever_the_tar_is_packed_in(
    s3: TestStore, tmp_path: Path, suffix: str, place: str
) -> None:
    kind = {".tar": "plain", ".tar.zst": "zstd"}.get(suffix, "gzip")
    content = packed(tar_bytes(WITH_LABELS), kind)
    (tmp_path / f"a{suffix}").write_bytes(content)
    location = str(tmp_path / f"a{suffix}")
    if place == "s3":
        bucket = s3.new_bucket()
        s3.put(bucket, {f"d/a{suffix}": content})
        location = f"s3://{bucket}/d/a{suffix}"
    archive = open_archive([location])
    assert fetched(archive) == {
        f"a{suffix}/{name.removesuffix('.jpg')}": picture for name, picture in PICTURES
    }
    assert not archive.is_cheap_to_list
    image = next(archive.list_images())
    assert image.uri.endswith(f"a{suffix}#class/000.jpg")
    assert archive.names[0].startswith("webdataset:")
    backwards = list(archive.list_images())[::-1]
    contents = list(archive.fetcher.fetch_all(backwards, 2**24))
    assert contents == [picture for _, picture in PICTURES][::-1]


class CountingFile(io.RawIOBase):
    """Counts what is read of a file."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.num_bytes = 0

    def tell(self) -> int:
        return self.file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(size)
        self.num_bytes += len(content)
        return content


def test_listing_reads_headers_and_skips_contents() -> None:
    file = CountingFile(io.BytesIO(tar_bytes([(f"{n}.jpg", bytes(10**6)) for n in range(12)])))
    assert len(list(entries(cast(BinaryIO, file)))) == 12
    assert file.num_bytes < 14 * 513 + tarfile.RECORDSIZE


def test_large_gaps_on_s3_cost_small_requests_and_small_gaps_are_read_through() -> None:
    """Twelve pictures of 1 MB cost twelve times 4 kB; twelve hundred of 10 kB four requests."""
    for num_pictures, size, most_requests, most_bytes in (
        (12, 10**6, 16, 16 * 4096),
        (1200, 10**4, 16, 14 * 10**6),
    ):
        content = tar_bytes([(f"{n}.jpg", bytes(size)) for n in range(num_pictures)])
        asked: list[int] = []

        def read_range(start: int, length: int, content: bytes = content) -> bytes:
            asked.append(length)  # noqa: B023
            return content[start : start + length]

        file = RangeFile(read_range, len(content))
        assert len(list(entries(cast(BinaryIO, file)))) == num_pictures
        assert len(asked) <= most_requests
        assert sum(asked) <= most_bytes


def test_a_range_of_tars_is_one_input_and_each_tar_ends_its_own_shard(tmp_path: Path) -> None:
    for number in range(8, 12):
        members = [(f"{n}.jpg", b"%d" % n) for n in range(10)]
        (tmp_path / f"a-{number:02}.tar").write_bytes(tar_bytes(members))
    (tmp_path / "index.json").write_bytes(b"{}")
    archive = open_archive([str(tmp_path / "a-{08..11}.tar")])
    assert archive.names == (f"webdataset:file://{tmp_path}/a-{{08..11}}.tar",)
    images = list(archive.list_images())
    assert [image.key for image in images][9:11] == ["a-08.tar/9", "a-09.tar/0"]
    shards = list(cut_shards(images))
    assert all(len({image.container for image in shard.images}) == 1 for shard in shards)
    for same in (str(tmp_path), str(tmp_path / "a-*.tar")):
        assert [image.key for image in open_archive([same]).list_images()] == [
            image.key for image in images
        ]
    several = open_archive([str(tmp_path / f"a-{n:02}.tar") for n in range(8, 12)])
    assert [image.key for image in several.list_images()] == [image.key for image in images]
    with pytest.raises(UsageError, match=r"no such file: .*a-12\.tar"):
        open_archive([str(tmp_path / "a-{08..12}.tar")])


def test_first_and_last_key_of_a_shard_do_not_depend_on_the_order_in_the_tar(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.tar").write_bytes(tar_bytes([(f"{n}.jpg", b"x") for n in (5, 1, 9, 3)]))
    (shard,) = cut_shards(open_archive([str(tmp_path / "a.tar")]).list_images())
    assert (shard.first_key, shard.last_key) == ("a.tar/1", "a.tar/9")


def test_every_member_of_a_hostile_tar_has_bytes_or_a_reason(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    stream = io.BytesIO()
    names = {
        "cat/good.jpg": "a.tar/cat/good",
        "/cat/absolute.jpg": "a.tar/cat/absolute",
        "cat/../../outside.jpg": "a.tar/cat/%2E%2E/%2E%2E/outside",
        "./dot.jpg": "a.tar/dot",
        "line\nbreak.jpg": "a.tar/line\nbreak",
        'it\'s "it".jpg': 'a.tar/it\'s "it"',
        "\u202egpj.jpg": "a.tar/\u202egpj",
        "n" * 5000 + ".jpg": "a.tar/" + "n" * 5000,
        "no-ending": "a.tar/no-ending",
        "empty.jpg": "a.tar/empty",
    }
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, key in names.items():
            entry = tarfile.TarInfo(name)
            entry.size = 0 if name == "empty.jpg" else len(key.encode())
            archive.addfile(entry, io.BytesIO(key.encode()))
        for name, kind in (
            ("symbolic.jpg", tarfile.SYMTYPE),
            ("hard.jpg", tarfile.LNKTYPE),
            ("device.jpg", tarfile.CHRTYPE),
            ("block.jpg", tarfile.BLKTYPE),
            ("pipe.jpg", tarfile.FIFOTYPE),
            ("folder", tarfile.DIRTYPE),
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, str(secret)
            archive.addfile(entry)
        entry = tarfile.TarInfo("caf\udce9.jpg")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"x"))
    (tmp_path / "a.tar").write_bytes(stream.getvalue())
    before = sorted(tmp_path.rglob("*"))
    got = fetched(open_archive([str(tmp_path / "a.tar")]))
    assert sorted(tmp_path.rglob("*")) == before
    failed = reasons(got)
    assert failed == dict.fromkeys(
        [f"a.tar/{name}" for name in ("symbolic", "hard", "device", "block", "pipe")],
        Reason.FETCH_FAILED,
    )
    names.pop("empty.jpg")
    assert {key: got.get(key) for key in names.values()} == {
        key: key.encode() for key in names.values()
    }
    assert b"secret" not in got.values()
    assert got["a.tar/empty"] == b""
    odd = set(got) - set(names.values()) - set(failed) - {"a.tar/empty"}
    assert len(odd) == 1
    odd.pop().encode("utf-8")


def test_repeated_names_have_keys_of_their_own(tmp_path: Path) -> None:
    members = [(name, b"%d" % n) for n, name in enumerate(["a.jpg", "a.png", "a.jpg", "a.jpg"])]
    (tmp_path / "t.tar").write_bytes(tar_bytes(members))
    got = fetched(open_archive([str(tmp_path / "t.tar")]))
    assert list(got.values()) == [b"0", b"1", b"2", b"3"]
    assert list(got)[:3] == ["t.tar/a", "t.tar/a.png", "t.tar/a.jpg"]


def test_a_sidecar_without_a_picture_counts_as_an_image(tmp_path: Path) -> None:
    names = ["notes.txt", "a.jpg", "a.txt", "b.txt", "b.jpg", ".hidden/x.jpg"]
    members = [(name, name[:1].encode()) for name in names]
    (tmp_path / "t.tar").write_bytes(tar_bytes(members))
    got = fetched(open_archive([str(tmp_path / "t.tar")]))
    assert got == {"t.tar/notes": b"n", "t.tar/a": b"a", "t.tar/b": b"b"}


def damage() -> Iterator[tuple[str, bytes, str]]:
    """Name, content of a tar whose first member is whole, and the reason."""
    whole = tar_bytes([("a.jpg", b"a" * 700), ("b.jpg", b"b" * 700), ("c.jpg", b"c" * 700)])
    yield "cut within content", whole[:2200], Reason.TRUNCATED
    yield "cut within a header", whole[:1800], Reason.TRUNCATED
    yield "a wrong header", whole[:1536] + b"x" * 512 + whole[2048:], Reason.UNREADABLE
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2 << 20
    yield "a huge name", whole[:1536] + header.tobuf() + bytes(3 << 20), Reason.UNREADABLE
    negative = bytearray(tarfile.TarInfo("neg.jpg").tobuf())
    negative[124:136] = struct.pack(">Bxxxq", 0xFF, -2048)
    negative[125:128] = b"\xff\xff\xff"
    checksum = 256 + sum(negative[:148]) + sum(negative[156:512])
    negative[148:156] = b"%06o\0 " % checksum
    yield "a size below zero", whole[:1536] + bytes(negative) + whole[1536:], Reason.UNREADABLE
    pax = tarfile.TarInfo("pax.jpg")
    pax.pax_headers = {"size": "-2048"}
    yield "a pax size below zero", whole[:1536] + pax.tobuf(tarfile.PAX_FORMAT), Reason.UNREADABLE


@pytest.mark.parametrize(
    ("name", "content", "reason"), list(damage()), ids=[name for name, _, _ in damage()]
)
@pytest.mark.parametrize("kind", ["plain", "zstd"])
def test_a_damaged_tar_gives_what_it_has_and_a_dead_letter_for_the_rest(
    tmp_path: Path, name: str, content: bytes, reason: str, kind: str
) -> None:
    (tmp_path / "t.tar").write_bytes(packed(content, kind))
    got = fetched(open_archive([str(tmp_path / "t.tar")]))
    assert got["t.tar/a"] == b"a" * 700
    cut_member = {"t.tar/b": Reason.TRUNCATED} if name == "cut within content" else {}
    assert reasons(got) == {"t.tar/": reason, **cut_member}


@pytest.mark.parametrize("content", [b"", b"not a tar", bytes(10240), b"\x1f\x8b\x08garbage"])
def test_a_file_that_is_no_tar_is_a_dead_letter_beside_the_valid_ones(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "0.tar").write_bytes(content)
    (tmp_path / "1.tar").write_bytes(tar_bytes([("a.jpg", b"a")]))
    got = fetched(open_archive([str(tmp_path / "{0..1}.tar")]))
    assert got.pop("1.tar/a") == b"a"
    assert not got if not content.strip(b"\0") and content else set(got) == {"0.tar/"}


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_packed_tar_that_is_cut_off_gives_what_comes_before(tmp_path: Path, kind: str) -> None:
    import random

    noise = [(f"{n}.jpg", random.Random(n).randbytes(50_000)) for n in range(20)]
    content = packed(tar_bytes(noise), kind)
    (tmp_path / "t.tar.x").write_bytes(content[: len(content) // 2])
    options = SourceOptions(input_format="webdataset")
    got = fetched(open_archive([str(tmp_path / "t.tar.x")], options))
    whole = [key for key, value in got.items() if isinstance(value, bytes)]
    assert 5 < len(whole) < 12
    assert set(reasons(got).values()) == {Reason.TRUNCATED}


def test_a_member_that_is_too_long_does_not_affect_its_neighbours(s3: TestStore) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, {"t.tar": tar_bytes([("a.jpg", b"a"), ("b.jpg", b"b" * 5000), ("c.jpg", b"c")])})
    got = fetched(open_archive([f"s3://{bucket}/t.tar"]), max_bytes=4999)
    assert (got["t.tar/a"], got["t.tar/c"]) == (b"a", b"c")
    assert reasons(got) == {"t.tar/b": Reason.TOO_LARGE}


def test_a_tar_that_was_replaced_since_it_was_listed_is_not_read(
    s3: TestStore,
) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, {"t.tar": tar_bytes([("a.jpg", b"aaaa")])})
    archive = open_archive([f"s3://{bucket}/t.tar"])
    images = list(archive.list_images())
    s3.put(bucket, {"t.tar": tar_bytes([("b.jpg", b"bbbb")])})
    (got,) = archive.fetcher.fetch_all(images, 1000)
    assert isinstance(got, ImageError)
    assert "changed since it was listed" in got.detail


def test_a_tar_of_many_members_is_listed_in_a_few_megabytes(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "t.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for number in range(20_000):
            entry = tarfile.TarInfo(f"{number}.jpg")
            archive.addfile(entry)
    source = open_archive([str(tmp_path / "t.tar")])
    tracemalloc.start()
    try:
        assert sum(isinstance(i.part, TarMember) for i in source.list_images()) == 20_000
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 6 * 2**20


@pytest.mark.parametrize("kind", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("join_first", [True, False])
def test_joined_tars_are_read_to_their_end(tmp_path: Path, kind: str, join_first: bool) -> None:
    tars = [tar_bytes([(f"{n}{m}.jpg", b"%d" % n) for m in range(3)]) for n in range(3)]
    joined = packed(b"".join(tars), kind) if join_first else b"".join(packed(t, kind) for t in tars)
    ending = {"plain": "tar", "gzip": "tar.gz", "zstd": "tar.zst"}[kind]
    (tmp_path / f"t.{ending}").write_bytes(joined)
    got = fetched(open_archive([str(tmp_path / f"t.{ending}")]))
    assert got == {f"t.{ending}/{n}{m}": b"%d" % n for n in range(3) for m in range(3)}


def test_what_follows_the_end_of_a_tar_and_is_no_tar_is_a_dead_letter(tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(tar_bytes([("a.jpg", b"a")]) + b"x" * 512)
    got = fetched(open_archive([str(tmp_path / "t.tar")]))
    assert got["t.tar/a"] == b"a"
    assert reasons(got) == {"t.tar/": Reason.UNREADABLE}


def test_a_range_of_one_name_is_a_range(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(tar_bytes([("a.jpg", b"a")]))
    got = fetched(open_archive([str(tmp_path / "{0..0}.tar")]))
    assert got == {"0.tar/a": b"a"}
