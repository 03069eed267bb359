"""Zips and tars of all compressions; what cannot be unpacked is named."""

import bz2
import io
import logging
import lzma
import zipfile
from pathlib import Path

import pytest

from pipeline.errors import Reason, UsageError
from pipeline.sources import open_archive
from tests.pipeline.sources.test_tars import fetched, reasons, tar_bytes
from tests.s3 import TestStore

PICTURES = {f"a/{n:02}.jpg": bytes([n]) * (5000 * n) for n in range(20)}


def zip_bytes(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
@pytest.mark.parametrize("place", ["local", "s3"])
def test_members_of_a_zip_are_read(s3: TestStore, tmp_path: Path, method: int, place: str) -> None:
    sidecars = {"a/00.jpg.json": b"{}", "__MACOSX/a/._00.jpg": b"x"}
    content = zip_bytes(PICTURES | sidecars | {"ü 1.jpg": b"u"}, method)
    (tmp_path / "t.zip").write_bytes(content)
    location = str(tmp_path / "t.zip")
    if place == "s3":
        bucket = s3.new_bucket()
        s3.put(bucket, {"t.zip": content})
        location = f"s3://{bucket}/t.zip"
    got = fetched(open_archive([location]))
    expected = {f"t.zip/{name[:-4]}": value for name, value in PICTURES.items()}
    assert got.pop("t.zip/ü 1") == b"u"
    assert {key: got[key] for key in expected} == expected


def test_a_zip_bomb_is_not_unpacked_beyond_the_limit(tmp_path: Path) -> None:
    content = bytearray(zip_bytes({"bomb.jpg": bytes(10**7), "good.jpg": b"good"}))
    (tmp_path / "t.zip").write_bytes(content)
    got = fetched(open_archive([str(tmp_path / "t.zip")]), max_bytes=10**6)
    assert (got["t.zip/good"], reasons(got)) == (b"good", {"t.zip/bomb": Reason.TOO_LARGE})
    size = (10**7).to_bytes(4, "little")
    lying = bytes(content).replace(size, (100).to_bytes(4, "little"))
    (tmp_path / "t.zip").write_bytes(lying)
    got = fetched(open_archive([str(tmp_path / "t.zip")]), max_bytes=10**6)
    assert (got["t.zip/good"], reasons(got)) == (b"good", {"t.zip/bomb": Reason.TOO_LARGE})


def test_damage_in_a_zip_costs_what_it_hits(tmp_path: Path) -> None:
    content = zip_bytes({"a.jpg": b"a" * 900, "b.jpg": b"b" * 900}, zipfile.ZIP_STORED)
    (tmp_path / "t.zip").write_bytes(content.replace(b"aaaa", b"aaax", 1))
    got = fetched(open_archive([str(tmp_path / "t.zip")]))
    assert got["t.zip/b"] == b"b" * 900
    assert "checksum" in str(got["t.zip/a"])
    (tmp_path / "t.zip").write_bytes(content[:-30])
    (tmp_path / "u.zip").write_bytes(content)
    got = fetched(open_archive([str(tmp_path)]))
    assert reasons(got) == {"t.zip/": Reason.UNREADABLE}
    assert got["u.zip/a"] == b"a" * 900


@pytest.mark.parametrize("ending", ["tar.xz", "tar.bz2"])
def test_tars_in_xz_and_bz2_are_read(tmp_path: Path, ending: str) -> None:
    pack = lzma.compress if ending == "tar.xz" else bz2.compress
    content = tar_bytes(list(PICTURES.items()))
    half = len(content) // 2
    (tmp_path / f"t.{ending}").write_bytes(pack(content[:half]) + pack(content[half:]))
    got = fetched(open_archive([str(tmp_path / f"t.{ending}")]))
    assert got == {f"t.{ending}/{name[:-4]}": value for name, value in PICTURES.items()}
    (tmp_path / f"t.{ending}").write_bytes(pack(content)[:-40])
    got = fetched(open_archive([str(tmp_path / f"t.{ending}")]))
    assert set(reasons(got).values()) <= {Reason.TRUNCATED, Reason.UNREADABLE}
    assert reasons(got)


def test_containers_that_are_not_unpacked_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.7z", "b.parquet", "cover.jpg"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match=r"^input: .*a\.7z cannot be read; unpack it"):
        open_archive([str(tmp_path / "a.7z")])
    with caplog.at_level(logging.WARNING):
        open_archive([str(tmp_path)])
    assert "not unpacked: 2 files of the first 3, such as a.7z" in caplog.text
