"""Requests to S3 and compatible stores: the client, its options, retries and errors.

Credentials, region and endpoint come from the standard AWS chain of the process that sends the
request; they are never stored, sent on or logged.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pipeline.errors import ImageError, Reason, UsageError
from pipeline.storage.errors import FOREIGN_ERRORS, storage_error
from pipeline.storage.retry_policy import RetryPolicy, TransientError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

__all__ = ["NUM_CONNECTIONS", "S3Connection", "S3Options", "split_uri"]

NUM_CONNECTIONS = 32

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class S3Options:
    """How requests are sent.

    Attributes:
        requester_pays: agree to pay for requests and traffic.
        retry_policy: for transient failures.
    """

    requester_pays: bool = False
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key; keys are not percent-encoded, as in the AWS command line.

    Raises:
        UsageError: the URI names no bucket.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise UsageError(f"must be s3://bucket/prefix (got {uri})")
    return bucket, key


class S3Connection:
    """A lazily made client; thread-safe, and picklable without it.

    Args:
        options: how requests are sent.
    """

    def __init__(self, options: S3Options | None = None) -> None:
        self.options = options or S3Options()
        self._client: S3Client | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type["S3Connection"], tuple[S3Options]]:
        return S3Connection, (self.options,)

    @property
    def client(self) -> "S3Client":
        """The boto3 client of this process; it does not retry."""
        with self._lock:
            if self._client is None:
                self._client = _make_client(self.options)
            return self._client

    def call(self, uri: str, send: Callable[["S3Client"], T]) -> T:
        """Sends one request, and retries it on transient failures.

        Args:
            uri: of the object or prefix.
            send: the request; may read the body of the response.

        Raises:
            ImageError: this object cannot be used.
            StorageDeniedError: nothing in this bucket can be used.
            UsageError: the URI is not valid.
        """

        def attempt() -> T:
            try:
                return send(self.client)
            except FOREIGN_ERRORS as error:
                raise storage_error(error, uri) from error

        try:
            return self.options.retry_policy.call(attempt)
        except TransientError as error:
            raise ImageError(Reason.FETCH_FAILED, str(error)) from error


def _make_client(options: S3Options) -> "S3Client":
    import boto3  # slow to import, and most archives are local
    from botocore.config import Config

    logging.getLogger("botocore").setLevel(logging.WARNING)  # it logs the source of credentials
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},  # `RetryPolicy` covers bodies too
        connect_timeout=options.retry_policy.silence_s,
        read_timeout=options.retry_policy.silence_s,
        max_pool_connections=NUM_CONNECTIONS,
        response_checksum_validation="when_required",
    )
    client = boto3.session.Session().client("s3", config=config)
    if options.requester_pays:
        client.meta.events.register("before-call.s3", _accept_charges)
    return client


def _accept_charges(params: dict[str, Any], **_: Any) -> None:
    params["headers"]["x-amz-request-payer"] = "requester"
