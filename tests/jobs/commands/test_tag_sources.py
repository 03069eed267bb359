"""One archive from a folder, S3, tars and Parquet, from the command line, with a real Ray."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.shapes import WrittenArchive
from tests.command_line import SHAPES, dvt, dvt_process, rows, succeeded
from tests.faulty_proxy import FaultyProxy, faulty_proxy
from tests.messy_archive import MessyFile, messy_files
from tests.s3 import TestStore

NUM_IMAGES = 300
_COLUMNS = "label, exit_stage, confidence, width, height"


def results(out: Path) -> dict[str, Any]:
    """Tag, reason or kind of each key."""
    tags = rows(out / "tags", f"SELECT key, {_COLUMNS} FROM t")
    letters = rows(out / "dead_letters", "SELECT key, reason FROM t")
    found = {row.pop("key"): tuple(row.values()) for row in tags}
    found |= {row["key"]: row["reason"] for row in letters}
    others = rows(out / "other_files", "SELECT key, kind FROM t")
    found |= {row["key"]: row["kind"] for row in others}
    assert len(found) == len(tags) + len(letters) + len(others), "a key is in two tables or twice"
    return found


def contents(archive: WrittenArchive, most: int | None = None) -> dict[str, bytes]:
    paths = sorted(path for path in archive.images.rglob("*") if path.is_file())
    return {path.relative_to(archive.images).as_posix(): path.read_bytes() for path in paths[:most]}


def tar_of(files: dict[str, bytes]) -> bytes:
    """Every file, whatever its ending, with a JSON beside each."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            for member, data in ((name, content), (name.rpartition(".")[0] + ".json", b"{}")):
                entry = tarfile.TarInfo(member)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def messy_by_number() -> dict[str, MessyFile]:
    """Keys that stay apart without their endings, as those of a tar's samples must."""
    files = messy_files()
    return {
        f"messy/{number:03d}-{Path(name).name.replace('.', '-')}.jpg": files[name]
        for number, name in enumerate(sorted(files))
    }


OTHERS = {
    "other/900.mp4": (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(300), "video"),
    "other/901.xmp": (b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>", "sidecar"),
    "other/902.db": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "database"),
    "other/903.bin": ("Grüße, ".encode() * 20, "text"),
    "other/904.dat": (bytes(5000), "unknown"),
    "other/905.part": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "document"),
}
"""Files that are no pictures, by name or by content, and their kinds."""


@pytest.mark.usefixtures("ray_session")
def test_a_folder_s3_tars_and_parquet_give_the_same_outcome_key_by_key(
    archive_5000: WrittenArchive,
    damaged_archive: WrittenArchive,
    s3: TestStore,
    tmp_path: Path,
) -> None:
    """Good pictures, damaged ones, more than a hundred kinds of messy files, and other files."""
    messy = messy_by_number()
    assert len(messy) > 100
    files = contents(archive_5000, NUM_IMAGES)
    files |= {f"damaged/{name}": content for name, content in contents(damaged_archive).items()}
    files |= {name: file.content for name, file in messy.items()}
    files |= {name: content for name, (content, _) in OTHERS.items()}
    folder = tmp_path / "all"
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    succeeded(dvt("tag", *SHAPES, folder, "--out", tmp_path / "folder"))
    expected = results(tmp_path / "folder")
    assert set(expected) == set(files)
    wrong = {}
    for name, file in messy.items():
        got = expected[name] if isinstance(expected[name], str) else expected[name][-2:]
        if got != file.expected:
            wrong[name] = (got, file.expected)
    assert not wrong
    assert {name: expected[name] for name in OTHERS} == {n: kind for n, (_, kind) in OTHERS.items()}

    bucket = s3.new_bucket()
    s3.put(bucket, {f"all/{name}": content for name, content in files.items()})
    succeeded(dvt("tag", *SHAPES, f"s3://{bucket}/all", "--out", tmp_path / "s3"))
    assert results(tmp_path / "s3") == expected
    uris = rows(tmp_path / "s3" / "tags", "SELECT key, uri, etag FROM t")
    assert all(row["uri"] == f"s3://{bucket}/all/{row['key']}" and row["etag"] for row in uris)
    text = "".join(p.read_text("utf-8", "replace") for p in (tmp_path / "s3").glob("*.json"))
    assert "a-secret-of-the-tests" not in text
    assert "AKIATEST" not in text

    names = list(files)
    halves = [dict(list(files.items())[part::2]) for part in (0, 1)]
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "0.tar").write_bytes(tar_of(halves[0]))
    s3.put(bucket, {"t/1.tar": tar_of(halves[1])})
    succeeded(
        dvt(
            "tag",
            *SHAPES,
            tmp_path / "t/{0..0}.tar",
            f"s3://{bucket}/t/1.tar",
            "--out",
            tmp_path / "tars",
        )
    )
    got = results(tmp_path / "tars")
    key_of = {}
    for prefix, tar, half in (("t", "0.tar", 0), (f"{bucket}/t", "1.tar", 1)):
        for name in halves[half]:
            key_of[name] = f"{tmp_path.name}/{prefix}/{tar}/{name.rpartition('.')[0]}"
            if half:
                key_of[name] = f"{prefix}/{tar}/{name.rpartition('.')[0]}"
    assert {name: got.get(key_of[name]) for name in names} == expected

    table = pa.table({"key": names, "image": list(files.values()), "label": names})
    pq.write_table(table, tmp_path / "all.parquet", row_group_size=400)
    arguments = ("tag", *SHAPES, tmp_path / "all.parquet", "--out", tmp_path / "parquet")
    succeeded(dvt(*arguments, "--keep-columns", "label"))
    assert results(tmp_path / "parquet") == expected
    kept = rows(tmp_path / "parquet" / "tags", "SELECT key, input_label FROM t")
    assert kept
    assert all(row["key"] == row["input_label"] for row in kept)
    for columns in (("--keep-columns", "label"), ()):
        again = succeeded(dvt(*arguments, *columns, "--json"))
        assert again.json["skipped"] == len(files)
    other = dvt(*arguments, "--keep-columns", "key")
    assert other.code == 2
    assert "another keep-columns" in other.err
    inputs = json.loads((tmp_path / "tars" / "run.json").read_text())["inputs"]
    assert len(inputs) == 2


@pytest.mark.usefixtures("ray_session")
def test_a_run_through_failing_storage_ends_with_the_table_of_one_through_good(
    damaged_archive: WrittenArchive,
    s3: TestStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = contents(damaged_archive)
    bucket = s3.new_bucket()
    s3.put(bucket, files)
    command = ("tag", *SHAPES, f"s3://{bucket}/", "--out")
    succeeded(dvt(*command, tmp_path / "good"))
    # Trickles and silences take their time by design; they have a test of their own.
    kinds = ("slow_down", "internal_error", "reset", "reset_in_body", "truncated", "short")
    with faulty_proxy(FaultyProxy(s3.endpoint, seed=3, kinds=(*kinds, "damaged"))) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        succeeded(dvt_process(*command, tmp_path / "faulty"))
        assert proxy.faults.total() > 20
    assert results(tmp_path / "faulty") == results(tmp_path / "good")


@pytest.mark.usefixtures("ray_session")
def test_credentials_that_expire_in_a_run_stop_it_in_one_line_without_dead_letters(
    damaged_archive: WrittenArchive,
    s3: TestStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket = s3.new_bucket()
    command = ("tag", *SHAPES, f"s3://{bucket}/", "--out", tmp_path / "out", "--json")
    s3.put(bucket, {n: c for n, c in contents(damaged_archive).items() if n.endswith("png")})
    with faulty_proxy(FaultyProxy(s3.endpoint, share=0.0)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        proxy.deny_after(10, "ExpiredToken")
        done = dvt_process(*command)
    assert done.code == 1
    assert done.err.strip().splitlines()[-1] == (
        f"dvt: storage: s3://{bucket}: the credentials have expired (ExpiredToken)"
    )
    assert rows(tmp_path / "out" / "dead_letters") == []
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    resumed = succeeded(dvt(*command)).json
    done_now = resumed["tagged"] + resumed["dead_letters"]
    assert resumed["images"] == done_now + resumed["skipped"]
