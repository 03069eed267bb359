"""Listing and fetching over HTTP without failures."""

import pickle

import pytest

from pipeline.errors import ImageError, StorageDeniedError, UsageError
from pipeline.sources import Archive, open_archive
from tests.s3 import TestStore


def fetched(archive: Archive) -> dict[str, bytes | ImageError]:
    images = list(archive.list_images())
    contents = archive.fetcher.fetch_all(images, 2**20)
    return {image.key: content for image, content in zip(images, contents, strict=True)}


def test_a_prefix_is_a_folder_and_its_keys_are_relative_to_it(s3: TestStore) -> None:
    bucket = s3.new_bucket()
    names = ["b.jpg", "a/z.jpg", "a-1.jpg", "ä ö+%20#?.jpg", 'it\'s "it".jpg', "\u202egpj.x"]
    s3.put(bucket, {f"photos/{name}": name.encode() for name in names})
    s3.put(bucket, {"photos2/x.jpg": b"x", "photos/": b"", "photos/.hidden": b"x"})
    for text in (f"s3://{bucket}/photos", f"s3://{bucket}/photos/"):
        archive = open_archive([text])
        assert archive.names == (f"s3://{bucket}/photos/",)
        assert fetched(archive) == {name: name.encode() for name in names}
    keys = [image.key for image in archive.list_images()]
    assert keys == sorted(keys)
    assert archive.is_cheap_to_list
    (image,) = (image for image in archive.list_images() if image.key == "b.jpg")
    assert image.uri == f"s3://{bucket}/photos/b.jpg"
    assert image.etag == s3.client.head_object(Bucket=bucket, Key="photos/b.jpg")["ETag"].strip('"')


def test_a_whole_bucket_a_glob_a_range_and_one_object_are_inputs(s3: TestStore) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, {f"d/{n}/p{n}.jpg": b"x" for n in range(12)} | {"d/0/x.png": b"y"})
    everything = open_archive([f"s3://{bucket}"])
    assert len(fetched(everything)) == 13
    assert set(fetched(open_archive([f"s3://{bucket}/d/1*/*.jpg"]))) == {
        *("1/p1.jpg", "10/p10.jpg", "11/p11.jpg")
    }
    assert set(fetched(open_archive([f"s3://{bucket}/d/**/p?.jpg"]))) == {
        f"{n}/p{n}.jpg" for n in range(10)
    }
    assert set(fetched(open_archive([f"s3://{bucket}/d/0/x.png"]))) == {"x.png"}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("s3://", "must be s3://bucket"),
        ("s3://{bucket}/nothing", "no objects below"),
        ("s3://{bucket}/x*.jpg", "nothing matches"),
        ("s3://{bucket}/{{0..2}}.tar", "no such file"),
        ("gs://bucket/x", "gs:// cannot be read"),
    ],
)
def test_a_missing_input_is_refused(s3: TestStore, text: str, word: str) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, {"y.jpg": b"y"})
    with pytest.raises(UsageError, match=f"^input: .*{word}"):
        open_archive([text.format(bucket=bucket)])


def test_a_bucket_that_does_not_exist_stops_with_its_name(s3: TestStore) -> None:
    with pytest.raises(StorageDeniedError, match=r"s3://no-such-bucket-here: no such bucket"):
        list(open_archive(["s3://no-such-bucket-here/x/"]).list_images())


def test_without_credentials_the_job_stops_before_it_begins(
    s3: TestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(StorageDeniedError, match="no usable credentials"):
        list(open_archive([f"s3://{bucket}/"]).list_images())


def test_an_object_that_changed_or_vanished_or_grew_fails_alone(s3: TestStore) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, {f"{n}.jpg": b"old %d" % n for n in range(5)} | {"big.jpg": bytes(3000)})
    archive = open_archive([f"s3://{bucket}/"])
    images = list(archive.list_images())
    s3.put(bucket, {"1.jpg": b"new 1"})
    s3.client.delete_object(Bucket=bucket, Key="3.jpg")
    fetcher = pickle.loads(pickle.dumps(archive.fetcher))
    got = dict(zip((i.key for i in images), fetcher.fetch_all(images, 2000), strict=True))
    assert (got["0.jpg"], got["2.jpg"], got["4.jpg"]) == (b"old 0", b"old 2", b"old 4")
    failures = {key: str(got[key]) for key in ("1.jpg", "3.jpg", "big.jpg")}
    assert "fetch_failed" in failures["1.jpg"]
    assert "changed since it was listed" in failures["1.jpg"]
    assert "vanished since it was listed" in failures["3.jpg"]
    assert "3000 bytes, at most 2000" in failures["big.jpg"]
