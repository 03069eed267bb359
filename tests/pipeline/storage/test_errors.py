"""Every error of boto3, Delta Lake and the file system becomes one of the engine's."""

import errno
import inspect
import os
import pickle

import botocore.exceptions
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from deltalake.exceptions import CommitFailedError

from pipeline.errors import (
    ImageError,
    OutputFailedError,
    PipelineError,
    Reason,
    StorageDeniedError,
    StorageFailedError,
    UsageError,
)
from pipeline.storage.errors import (
    ObjectDeniedError,
    ObjectExistsError,
    ObjectGoneError,
    output_failures,
    storage_error,
)
from pipeline.storage.retry_policy import TransientError

URI = "s3://bucket/folder/a.jpg"
BOTO_ERRORS = [
    kind
    for _, kind in inspect.getmembers(botocore.exceptions, inspect.isclass)
    if issubclass(kind, BotoCoreError)
]


def response(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "GetObject",
    )


@pytest.mark.parametrize("kind", BOTO_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_boto3_has_a_meaning(kind: type[BotoCoreError]) -> None:
    error = kind.__new__(kind)
    Exception.__init__(error, "what\nhappened")
    mapped = storage_error(error, URI)
    assert isinstance(mapped, StorageDeniedError | UsageError | TransientError)
    assert "\n" not in str(mapped)


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("SlowDown", 503, TransientError),
        ("InternalError", 500, TransientError),
        ("Unheard", 599, TransientError),
        ("TooManyRequests", 429, TransientError),
        ("NoSuchKey", 404, ObjectGoneError),
        ("404", 404, ObjectGoneError),
        ("NoSuchBucket", 404, StorageDeniedError),
        ("ExpiredToken", 400, StorageDeniedError),
        ("PermanentRedirect", 301, StorageDeniedError),
        ("AccessDenied", 403, ObjectDeniedError),
        ("PreconditionFailed", 412, ObjectExistsError),
        ("ConditionalRequestConflict", 409, ObjectExistsError),
        ("InvalidRange", 416, ImageError),
        ("InvalidObjectState", 403, ImageError),
        ("Unheard", 400, ImageError),
    ],
)
def test_the_code_of_a_response_decides(code: str, status: int, expected: type[Exception]) -> None:
    mapped = storage_error(response(code, status), URI)
    assert type(mapped) is expected
    if isinstance(mapped, ImageError):
        again = pickle.loads(pickle.dumps(mapped))
        assert (type(again), again.reason, again.detail) == (expected, mapped.reason, mapped.detail)


@pytest.mark.parametrize(
    ("text", "expected", "words"),
    [
        (
            "Generic S3 error: Error performing PUT http://h/b/k in 1.2s, after 3 retries, "
            "max_retries: 3, retry_timeout: 300s - Server returned non-2xx status code: 503 "
            "Service Unavailable: <Error><Code>SlowDown</Code></Error>",
            TransientError,
            "SlowDown",
        ),
        ("Generic S3 error: error sending request for url (http://h/)", TransientError, "request"),
        (
            "Server returned 400 Bad Request: <Code>ExpiredToken</Code>",
            StorageFailedError,
            "have expired",
        ),
        (
            "Server returned 404 Not Found: <Code>NoSuchBucket</Code>",
            StorageFailedError,
            "no such bucket",
        ),
        (
            "an error occurred in the credentials provider",
            StorageFailedError,
            "no usable credentials",
        ),
        ("\x1b[31mbroken\x1b[0m\n  ↳ log", StorageFailedError, "broken : log"),
    ],
)
def test_texts_of_delta_lake_are_searched_for_the_same_codes(
    text: str, expected: type[Exception], words: str
) -> None:
    for error in (OSError(text), CommitFailedError(text)):
        mapped = storage_error(error, URI)
        assert type(mapped) is expected
        assert words in str(mapped)


def test_a_full_disk_is_not_retried_and_a_reset_connection_is() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/out/a")
    assert "no space is left" in str(storage_error(full, "/out"))
    assert isinstance(storage_error(full, "/out"), StorageFailedError)
    assert isinstance(storage_error(ConnectionResetError(104, "reset"), URI), TransientError)


@pytest.mark.parametrize(
    "error",
    [
        response("AccessDenied", 403),
        response("NoSuchBucket", 404),
        OSError("disk"),
        TransientError("503; gave up after 12 attempts"),
        StorageFailedError("storage: s3://bucket: down"),
        ImageError(Reason.FETCH_FAILED, "refused"),
    ],
)
def test_for_an_output_all_of_them_are_failures_of_the_output(error: Exception) -> None:
    with pytest.raises(OutputFailedError, match=r"^out: ") as caught, output_failures(URI):
        raise error
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, PipelineError)
