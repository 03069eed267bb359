"""A folder and a prefix of a bucket behave alike."""

import pickle
import threading
import time

import pytest

from pipeline.errors import OutputFailedError, UsageError
from pipeline.storage import open_output_store
from tests.s3_server import BUCKET, S3Server


def test_what_is_written_is_read_and_replaced_and_deleted(location: str) -> None:
    place = open_output_store(location)
    place.prepare()
    assert place.read("a.json") is None
    place.write("a.json", b"one")
    place.write("a.json", b"two")
    assert place.read("a.json") == b"two"
    place.delete(["a.json", "never there"])
    assert place.read("a.json") is None


def test_names_are_those_directly_below(location: str) -> None:
    place = open_output_store(location)
    assert list(place.names()) == []
    place.child("tags").prepare()
    place.child("tags").write("part", b"1")
    place.write("run.json", b"{}")
    assert sorted(place.names()) == ["run.json", "tags/"]
    assert list(place.child("tags").names()) == ["part"]


def test_of_many_who_create_the_same_file_one_succeeds(location: str) -> None:
    place = open_output_store(location)
    place.prepare()
    made: list[int] = []

    def create(number: int) -> None:
        if place.create("epoch", f"run {number}".encode()):
            made.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert place.read("epoch") == f"run {made[0]}".encode()
    assert sorted(place.names()) == ["epoch"]


def test_age_is_told_by_the_storage(location: str) -> None:
    place = open_output_store(location)
    place.prepare()
    assert place.age_s("x") is None
    place.write("x", b"")
    time.sleep(1.1)
    age_s = place.age_s("x")
    assert age_s is not None
    assert 0.9 <= age_s < 30
    assert list(place.names()) == ["x"]


def test_a_place_travels_to_another_process(location: str) -> None:
    place = open_output_store(location)
    place.prepare()
    place.write("x", b"1")
    assert pickle.loads(pickle.dumps(place)).read("x") == b"1"


def test_a_bucket_needs_a_name() -> None:
    with pytest.raises(UsageError, match=r"out: must be a folder or s3://bucket/prefix \(got s3:"):
        open_output_store("s3:///prefix")


def test_a_bucket_that_is_not_there_is_told_in_one_line(s3: S3Server) -> None:
    with pytest.raises(OutputFailedError, match="no such bucket") as caught:
        open_output_store("s3://nobodys-bucket/x").write("a", b"")
    assert "\n" not in str(caught.value)
    assert BUCKET in [bucket["Name"] for bucket in s3.client.list_buckets()["Buckets"]]
