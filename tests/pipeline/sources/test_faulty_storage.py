"""Storage that fails: the same bytes as without failures, or a clear stop."""

import random

import pytest

from pipeline.errors import ImageError, Reason, StorageDeniedError
from pipeline.sources import Archive, SourceOptions, open_archive
from pipeline.storage.retry_policy import RetryPolicy
from tests.faulty_proxy import KINDS, FaultyProxy, faulty_proxy
from tests.s3 import TestStore

QUICK = RetryPolicy(first_wait_s=0.01, longest_wait_s=0.1, silence_s=0.5)


def listed_and_fetched(archive: Archive) -> dict[str, bytes | ImageError]:
    images = list(archive.list_images())
    contents = archive.fetcher.fetch_all(images, 2**24)
    return {image.key: content for image, content in zip(images, contents, strict=True)}


def test_with_a_fifth_of_all_requests_failing_every_byte_is_the_same(
    s3: TestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket()
    draw = random.Random(5)
    files = {f"{n:04}.jpg": draw.randbytes(draw.randint(1, 40_000)) for n in range(300)}
    s3.put(bucket, files)
    with faulty_proxy(FaultyProxy(s3.endpoint, seed=7, patience_s=1.0)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        got = listed_and_fetched(open_archive([f"s3://{bucket}/"], retry_policy=QUICK))
    assert got == files
    assert set(proxy.faults) == set(KINDS), "every kind must have occurred, or this shows little"
    assert proxy.faults.total() > 50


@pytest.mark.parametrize("kind", KINDS)
def test_a_permanent_failure_is_a_dead_letter_with_the_cause(
    s3: TestStore, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, {"a.jpg": bytes(50_000)})
    policy = RetryPolicy(3, 0.01, 0.02, silence_s=0.3, min_bytes_per_s=100_000)
    archive = open_archive([f"s3://{bucket}/"], retry_policy=policy)
    images = list(archive.list_images())
    with faulty_proxy(FaultyProxy(s3.endpoint, 1.0, kinds=(kind,), patience_s=3)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        (got,) = archive.fetcher.fetch_all(images, 2**24)
    assert isinstance(got, ImageError)
    assert got.reason is Reason.FETCH_FAILED
    assert "gave up after 3 attempts" in got.detail


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_credentials_that_expire_during_a_run_stop_it_at_once(
    s3: TestStore, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, {f"{n:03}.jpg": b"x" for n in range(200)})
    with faulty_proxy(FaultyProxy(s3.endpoint, share=0.0)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        archive = open_archive([f"s3://{bucket}/"])
        images = list(archive.list_images())
        assert set(archive.fetcher.fetch_all(images, 2**24)) == {b"x"}
        proxy.denial = code
        before = proxy.num_requests
        with pytest.raises(StorageDeniedError, match=f"{bucket}.*{code}") as raised:
            list(archive.fetcher.fetch_all(images, 2**24))
        assert proxy.num_requests - before < 100, "it must not keep trying"
        with pytest.raises(StorageDeniedError, match=code):
            list(archive.list_images())
    assert "AKIA" not in str(raised.value)


def test_access_denied_to_some_objects_is_theirs_and_to_all_stops_the_job(
    s3: TestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, {f"{n:03}.jpg": b"x" for n in range(60)})
    with faulty_proxy(FaultyProxy(s3.endpoint, share=0.0)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        archive = open_archive([f"s3://{bucket}/"])
        images = list(archive.list_images())
        proxy.denial = "AccessDenied"
        few = list(archive.fetcher.fetch_all(images[:3], 2**24))
        assert all("access denied" in str(error) for error in few)
        with pytest.raises(StorageDeniedError, match="check the permissions of the credentials"):
            list(archive.fetcher.fetch_all(images, 2**24))
        proxy.denial = None
        assert list(archive.fetcher.fetch_all(images, 2**24)) == [b"x"] * 60
        proxy.denial = "AccessDenied"
        later = list(archive.fetcher.fetch_all(images, 2**24))
        assert all("access denied" in str(error) for error in later)


def test_denied_objects_among_readable_ones_are_dead_letters_even_if_they_come_first(
    s3: TestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a run whose only new objects are denied: it must end."""
    bucket = s3.new_bucket()
    s3.put(bucket, {f"in/{n:04}.jpg": b"x" for n in range(60)})
    with faulty_proxy(FaultyProxy(s3.endpoint, share=0.0)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        archive = open_archive([f"s3://{bucket}/in"])
        new = list(archive.list_images())[:40]
        proxy.denied_paths = {f"/{bucket}/in/{image.key}" for image in new}
        for _ in range(2):
            errors = list(archive.fetcher.fetch_all(new, 2**24))
            assert len(errors) == 40
            assert all("access denied" in str(error) for error in errors)


def test_objects_that_may_be_listed_but_not_read_stop_the_job(
    s3: TestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, {f"{n:03}.jpg": b"x" for n in range(60)})
    with faulty_proxy(FaultyProxy(s3.endpoint, share=0.0)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        archive = open_archive([f"s3://{bucket}/"])
        images = list(archive.list_images())
        proxy.denied_paths = {f"/{bucket}/{image.key}" for image in images}
        with pytest.raises(StorageDeniedError, match="all others that were tried in s3://"):
            list(archive.fetcher.fetch_all(images, 2**24))


def test_permissions_that_are_revoked_during_a_run_stop_it_after_a_thousand_images(
    s3: TestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, {"a.jpg": b"x"})
    with faulty_proxy(FaultyProxy(s3.endpoint, share=0.0)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        archive = open_archive([f"s3://{bucket}/"])
        images = list(archive.list_images())
        assert list(archive.fetcher.fetch_all(images, 2**24)) == [b"x"]
        proxy.denial = "AccessDenied"
        with pytest.raises(StorageDeniedError, match="to 1000 consecutive images"):
            list(archive.fetcher.fetch_all(images * 1200, 2**24))


def test_an_etag_that_is_no_digest_is_not_compared(s3: TestStore) -> None:
    """Those of multipart uploads have a dash; those of encrypted objects only look like MD5s."""
    bucket = s3.new_bucket()
    upload = s3.client.create_multipart_upload(Bucket=bucket, Key="parts.jpg")["UploadId"]
    part = s3.client.upload_part(
        Bucket=bucket, Key="parts.jpg", PartNumber=1, UploadId=upload, Body=b"p" * 100
    )
    s3.client.complete_multipart_upload(
        Bucket=bucket,
        Key="parts.jpg",
        UploadId=upload,
        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]},
    )
    s3.put(bucket, {"other.jpg": b"o"})
    s3.set_etag(bucket, "other.jpg", "0" * 32)
    archive = open_archive([f"s3://{bucket}/"])
    assert listed_and_fetched(archive) == {"parts.jpg": b"p" * 100, "other.jpg": b"o"}


def test_a_checksum_of_the_upload_is_compared(s3: TestStore) -> None:
    bucket = s3.new_bucket()
    s3.client.put_object(Bucket=bucket, Key="a.jpg", Body=b"abc", ChecksumAlgorithm="CRC32")
    assert listed_and_fetched(open_archive([f"s3://{bucket}/"])) == {"a.jpg": b"abc"}


@pytest.mark.parametrize("pays", [True, False])
def test_every_request_accepts_charges_if_the_requester_pays(
    s3: TestStore, monkeypatch: pytest.MonkeyPatch, pays: bool
) -> None:
    bucket = s3.new_bucket()
    s3.put(bucket, {"d/a.jpg": b"a"})
    with faulty_proxy(FaultyProxy(s3.endpoint, share=0.0)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        options = SourceOptions(requester_pays=pays)
        assert listed_and_fetched(open_archive([f"s3://{bucket}/d"], options)) == {"a.jpg": b"a"}
        assert set(proxy.payers) == {"requester" if pays else None}
