"""Objects of S3 and its relatives, by `s3://bucket/key`; boto3 with the standard AWS chain.

Credentials and endpoint are boto3's own business: they are looked up where the work is done, and
never written, sent or logged. Keys stand in URIs as they are, as the AWS command line has it.
"""

import hashlib
import threading
import time
import zlib
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from pipeline.errors import ImageError, Reason, StorageDeniedError, StorageFailedError, UsageError
from pipeline.sources.local import too_large
from pipeline.sources.range_file import RangeFile
from pipeline.sources.retry_policy import RetryPolicy, TransientError
from pipeline.sources.s3_errors import CLIENT_ERRORS, ObjectDeniedError, ObjectGoneError, mapped
from pipeline.sources.stores import FileStatus

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

__all__ = ["NUM_CONNECTIONS", "S3Objects", "S3Options", "split_uri"]

NUM_CONNECTIONS = 32
_PIECE_BYTES = 2**18
_SINGLE_PART_MD5 = 32
_NUM_TRIED = 32

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class S3Options:
    """How to talk to the store.

    Attributes:
        requester_pays: agree to pay for requests and traffic.
        patience: with failures.
    """

    requester_pays: bool = False
    patience: RetryPolicy = field(default_factory=RetryPolicy)


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key.

    Raises:
        UsageError: it names no bucket.
    """
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise UsageError(f"input: must be s3://bucket/prefix (got {uri})")
    return bucket, key


class S3Objects:
    """See `Store`.

    Args:
        options: how to talk to it.
    """

    def __init__(self, options: S3Options) -> None:
        self._options = options
        self._client: S3Client | None = None
        self._starting = threading.Lock()
        self._etag_is_md5 = True

    def __reduce__(self) -> tuple[type["S3Objects"], tuple[S3Options]]:
        return S3Objects, (self._options,)

    @property
    def client(self) -> "S3Client":
        """Made on first use, in the process that uses it."""
        with self._starting:
            if self._client is None:
                import boto3  # takes a while, and most archives are local
                from botocore.config import Config

                silence_s = self._options.patience.silence_s
                config = Config(
                    # `RetryPolicy` retries, because it covers bodies too.
                    retries={"mode": "standard", "total_max_attempts": 1},
                    connect_timeout=silence_s,
                    read_timeout=silence_s,
                    max_pool_connections=NUM_CONNECTIONS,
                    response_checksum_validation="when_required",
                )
                try:
                    self._client = boto3.session.Session().client("s3", config=config)
                except CLIENT_ERRORS as error:
                    raise mapped(error, "s3://") from error
            return self._client

    def status(self, uri: str) -> FileStatus | None:
        """See `Store.status`."""
        try:
            return self._head(uri)
        except ObjectGoneError:
            return None
        except ObjectDeniedError as error:
            raise StorageDeniedError(
                f"storage: {uri}: {error.detail}; without the right to list the bucket this may "
                "also mean that there is no such object"
            ) from error
        except ImageError as error:
            raise StorageFailedError(f"storage: {uri}: {error.detail}") from error

    def _head(self, uri: str) -> FileStatus:
        bucket, key = split_uri(uri)
        head: Any = self.ask(uri, lambda c, more: c.head_object(Bucket=bucket, Key=key, **more))
        return FileStatus(head["ContentLength"], _plain(head["ETag"]))

    def read(self, uri: str, status: FileStatus | None, max_bytes: int) -> bytes:
        """See `Store.read`."""
        if status is not None and status.size_bytes > max_bytes:
            raise too_large(status.size_bytes, max_bytes)
        bucket, key = split_uri(uri)
        etag = None if status is None else status.etag
        earlier: list[bytes] = []

        def attempt(client: "S3Client", more: dict[str, Any]) -> bytes:
            answer: Any = client.get_object(
                Bucket=bucket, Key=key, ChecksumMode="ENABLED", **_same(etag), **more
            )
            length = answer["ContentLength"]
            if length > max_bytes:
                answer["Body"].close()
                raise too_large(length, max_bytes)
            content = self._body(answer, length)
            if status is not None and etag is not None and length != status.size_bytes:
                raise TransientError(f"{length} bytes came of {status.size_bytes}")
            self._check(content, answer, earlier)
            return content

        return self.ask(uri, attempt)

    def read_range(self, uri: str, etag: str | None, start: int, length: int) -> bytes:
        """See `Store.read_range`."""
        if length <= 0:
            return b""
        bucket, key = split_uri(uri)
        last = start + length - 1

        def attempt(client: "S3Client", more: dict[str, Any]) -> bytes:
            answer: Any = client.get_object(
                Bucket=bucket, Key=key, Range=f"bytes={start}-{last}", **_same(etag), **more
            )
            if answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
                answer["Body"].close()
                raise ImageError(Reason.FETCH_FAILED, "the storage does not serve parts of files")
            total = int(answer["ContentRange"].rpartition("/")[2])
            expected = min(last + 1, total) - start
            if answer["ContentLength"] != expected:
                answer["Body"].close()
                raise TransientError(f"{answer['ContentLength']} bytes came of {expected}")
            return self._body(answer, expected)

        return self.ask(uri, attempt)

    def open(self, uri: str, etag: str | None) -> BinaryIO:
        """See `Store.open`; all reads are of one version."""
        status = self._head(uri)
        if etag is not None and status.etag != etag:
            raise ImageError(Reason.FETCH_FAILED, "changed since it was listed")
        file = RangeFile(partial(self.read_range, uri, status.etag), status.size_bytes)
        return cast(BinaryIO, file)

    def may_read_some_of(self, folder: str) -> bool:
        """Whether any of some objects below a folder can be read; also if that cannot be told.

        Args:
            folder: s3://bucket/ or s3://bucket/any/folder/.
        """
        bucket, prefix = split_uri(folder)
        try:
            answer: Any = self.ask(
                folder,
                lambda client, more: client.list_objects_v2(Bucket=bucket, Prefix=prefix, **more),
            )
        except ObjectDeniedError:
            return False
        except ImageError:
            return True
        keys = [entry["Key"] for entry in answer.get("Contents", ()) if entry["Size"]]
        for key in keys[:: len(keys) // _NUM_TRIED + 1]:
            try:
                self.read_range(f"s3://{bucket}/{key}", None, 0, 1)
            except ObjectDeniedError:
                continue
            except ImageError:
                pass
            return True
        return False

    def ask(self, uri: str, attempt: Callable[["S3Client", dict[str, Any]], T]) -> T:
        """One request with its retries.

        Args:
            uri: what it is about.
            attempt: given the client, and arguments that every request takes.

        Raises:
            ImageError: this object cannot be had.
            StorageDeniedError: nothing can be had.
            UsageError: the URI is none.
        """
        more = {"RequestPayer": "requester"} if self._options.requester_pays else {}

        def mapping() -> T:
            try:
                return attempt(self.client, more)
            except CLIENT_ERRORS as error:
                raise mapped(error, uri) from error

        try:
            return self._options.patience.call(mapping)
        except TransientError as error:
            attempts = self._options.patience.attempts
            detail = f"{error}; gave up after {attempts} attempts"
            raise ImageError(Reason.FETCH_FAILED, detail) from error

    def _body(self, answer: Any, length: int) -> bytes:
        """Reads what arrives, as it arrives, so that a trickle is noticed."""
        deadline = time.monotonic() + self._options.patience.allowed_s(length)
        # urllib3's own answer: boto3's wrapper waits until all that was asked for is there.
        stream = answer["Body"]._raw_stream
        content = bytearray()
        try:
            while len(content) < length:
                piece = stream.read1(min(_PIECE_BYTES, length - len(content)))
                if not piece:
                    raise TransientError(f"cut off after {len(content)} of {length} bytes")
                content += piece
                if time.monotonic() > deadline:
                    raise TransientError(f"too slow: {len(content)} of {length} bytes")
        except BaseException:
            stream.close()  # what else is on its way must not end up in another answer
            raise
        stream.read1(1)  # sees the end, so that the connection can be used again
        stream.release_conn()
        return bytes(content)

    def _check(self, content: bytes, answer: Any, earlier: list[bytes]) -> None:
        """Compares a whole object with the digest that the store gives, if it gives one."""
        if "ChecksumCRC32" in answer and answer.get("ChecksumType") != "COMPOSITE":
            expected = answer["ChecksumCRC32"]
            if "-" not in expected and int.from_bytes(b64decode(expected)) != zlib.crc32(content):
                raise TransientError("the content does not fit its checksum (CRC32)")
            return
        etag = _plain(answer.get("ETag", ""))
        # Of objects in several parts or encrypted ones, the etag is no MD5.
        is_plain = answer.get("ServerSideEncryption", "AES256") == "AES256"
        if not is_plain or "SSECustomerAlgorithm" in answer or len(etag) != _SINGLE_PART_MD5:
            return
        if not self._etag_is_md5:
            return
        actual = hashlib.md5(content, usedforsecurity=False).digest()
        if actual.hex() == etag.lower():
            return
        if actual in earlier:
            # Damage on the way would hardly come twice: this store's etags are something else.
            self._etag_is_md5 = False
            return
        earlier.append(actual)
        raise TransientError("the content does not fit its checksum (MD5)")


def _same(etag: str | None) -> dict[str, Any]:
    """Only the version that was listed."""
    return {} if etag is None else {"IfMatch": f'"{etag}"'}


def _plain(etag: str) -> str:
    return etag.strip('"')
