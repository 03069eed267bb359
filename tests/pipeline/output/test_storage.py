"""Folders and bucket prefixes behave alike."""

import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.errors import OutputFailedError, UsageError
from pipeline.storage import OutputStore, open_output_store, whole_name
from tests.s3_server import BUCKET, S3Server


def test_what_is_written_is_read_and_replaced_and_deleted(location: str) -> None:
    store = open_output_store(location)
    store.prepare()
    assert store.read("a.json") is None
    store.write("a.json", b"one")
    store.write("a.json", b"two")
    assert store.read("a.json") == b"two"
    store.delete(["a.json", "never there"])
    assert store.read("a.json") is None


def test_names_are_those_directly_below(location: str) -> None:
    store = open_output_store(location)
    assert list(store.names()) == []
    store.child("tags").prepare()
    store.child("tags").write("part", b"1")
    store.write("run.json", b"{}")
    assert sorted(store.names()) == ["run.json", "tags/"]
    assert list(store.child("tags").names()) == ["part"]


def test_of_many_that_create_the_same_file_one_succeeds(location: str) -> None:
    store = open_output_store(location)
    store.prepare()
    made: list[int] = []

    def create(number: int) -> None:
        if store.create("epoch", f"run {number}".encode()):
            made.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert store.read("epoch") == f"run {made[0]}".encode()
    assert sorted(store.names()) == ["epoch"]


def test_age_is_measured_by_the_storage(location: str) -> None:
    store = open_output_store(location)
    store.prepare()
    assert store.age_s("x") is None
    store.write("x", b"")
    time.sleep(1.1)
    age_s = store.age_s("x")
    assert age_s is not None
    assert 0.9 <= age_s < 30
    assert list(store.names()) == ["x"]


def test_a_store_can_be_pickled(location: str) -> None:
    store = open_output_store(location)
    store.prepare()
    store.write("x", b"1")
    assert pickle.loads(pickle.dumps(store)).read("x") == b"1"


def test_a_bucket_needs_a_name() -> None:
    with pytest.raises(UsageError, match=r"out: must be a folder or s3://bucket/prefix \(got s3:"):
        open_output_store("s3:///prefix")


def test_a_missing_bucket_is_an_error_of_one_line(s3: S3Server) -> None:
    with pytest.raises(OutputFailedError, match="no such bucket") as caught:
        open_output_store("s3://nobodys-bucket/x").write("a", b"")
    assert "\n" not in str(caught.value)
    assert BUCKET in [bucket["Name"] for bucket in s3.client.list_buckets()["Buckets"]]


def test_a_file_whose_unfinished_content_a_later_run_removes_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_output_store(tmp_path)
    store.prepare()
    sync = os.fsync

    def remove_first(descriptor: int) -> None:
        """The run sleeps before it renames; the next one cleans up."""
        monkeypatch.setattr(os, "fsync", sync)
        (partial,) = tmp_path.iterdir()
        assert whole_name(partial.name) == "part.parquet"
        partial.unlink()
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", remove_first)
    store.write("part.parquet", b"rows")
    assert list(store.names()) == ["part.parquet"]
    assert store.read("part.parquet") == b"rows"


def test_two_runs_that_write_one_file_at_once_never_mix_their_contents(tmp_path: Path) -> None:
    stores = [open_output_store(tmp_path) for _ in range(2)]
    contents = [letter * 2**20 for letter in (b"a", b"b")]

    def write(store: OutputStore, content: bytes) -> None:
        for _ in range(20):
            store.write("run.json", content)
            assert store.read("run.json") in contents

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, stores, contents))
    assert list(stores[0].names()) == ["run.json"]
