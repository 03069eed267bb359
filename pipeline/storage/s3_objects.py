"""Reads objects of S3 by `s3://bucket/key`, and verifies what arrives."""

import hashlib
import time
import zlib
from base64 import b64decode
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pipeline.errors import ImageError, Reason, StorageDeniedError, StorageFailedError
from pipeline.storage.base import FileStatus, too_large
from pipeline.storage.errors import ObjectDeniedError, ObjectGoneError
from pipeline.storage.range_file import RangeFile
from pipeline.storage.retry_policy import TransientError
from pipeline.storage.s3_connection import S3Connection, split_uri

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

__all__ = ["S3Objects"]

_CHUNK_BYTES = 2**18
_MD5_HEX_DIGITS = 32
_NUM_PROBED = 32


class S3Objects:
    """See `Store`.

    Args:
        connection: to the store.
    """

    def __init__(self, connection: S3Connection) -> None:
        self.connection = connection
        self._etag_is_md5 = True

    def status(self, uri: str) -> FileStatus | None:
        """See `Store.status`."""
        try:
            return self._head(uri)
        except ObjectGoneError:
            return None
        except ObjectDeniedError as error:
            raise StorageDeniedError(
                f"storage: {uri}: {error.detail}; without permission to list the bucket, this may "
                "also mean that there is no such object"
            ) from error
        except ImageError as error:
            raise StorageFailedError(f"storage: {uri}: {error.detail}") from error

    def _head(self, uri: str) -> FileStatus:
        bucket, key = split_uri(uri)
        head: Any = self.connection.call(
            uri, lambda client: client.head_object(Bucket=bucket, Key=key)
        )
        return FileStatus(head["ContentLength"], _unquoted(head["ETag"]))

    def read(self, uri: str, status: FileStatus | None, max_bytes: int) -> bytes:
        """See `Store.read`."""
        if status is not None and status.size_bytes > max_bytes:
            raise too_large(status.size_bytes, max_bytes)
        bucket, key = split_uri(uri)
        etag = None if status is None else status.etag
        digests: list[bytes] = []

        def send(client: "S3Client") -> bytes:
            response: Any = client.get_object(
                Bucket=bucket, Key=key, ChecksumMode="ENABLED", **_if_match(etag)
            )
            length = response["ContentLength"]
            if length > max_bytes:
                response["Body"].close()
                raise too_large(length, max_bytes)
            content = self._body(response, length)
            if status is not None and etag is not None and length != status.size_bytes:
                raise TransientError(f"got {length} of {status.size_bytes} bytes")
            self._verify(content, response, digests)
            return content

        return self.connection.call(uri, send)

    def read_range(self, uri: str, etag: str | None, start: int, length: int) -> bytes:
        """See `Store.read_range`."""
        if length <= 0:
            return b""
        bucket, key = split_uri(uri)
        last = start + length - 1

        def send(client: "S3Client") -> bytes:
            response: Any = client.get_object(
                Bucket=bucket, Key=key, Range=f"bytes={start}-{last}", **_if_match(etag)
            )
            if response["ResponseMetadata"]["HTTPStatusCode"] != 206:
                response["Body"].close()
                raise ImageError(Reason.FETCH_FAILED, "the storage does not support range requests")
            total = int(response["ContentRange"].rpartition("/")[2])
            expected = min(last + 1, total) - start
            if response["ContentLength"] != expected:
                response["Body"].close()
                raise TransientError(f"got {response['ContentLength']} of {expected} bytes")
            return self._body(response, expected)

        return self.connection.call(uri, send)

    def open(self, uri: str, etag: str | None) -> BinaryIO:
        """See `Store.open`."""
        status = self._head(uri)
        if etag is not None and status.etag != etag:
            raise ImageError(Reason.FETCH_FAILED, "changed since it was listed")
        file = RangeFile(partial(self.read_range, uri, status.etag), status.size_bytes)
        return cast(BinaryIO, file)

    def can_read_some_of(self, folder: str) -> bool:
        """Whether any of up to 32 objects below a folder can be read; true if that is unknown.

        Args:
            folder: s3://bucket/ or s3://bucket/any/folder/.
        """
        bucket, prefix = split_uri(folder)
        try:
            response: Any = self.connection.call(
                folder, lambda client: client.list_objects_v2(Bucket=bucket, Prefix=prefix)
            )
        except ObjectDeniedError:
            return False
        except ImageError:
            return True
        keys = [entry["Key"] for entry in response.get("Contents", ()) if entry["Size"]]
        for key in keys[:: len(keys) // _NUM_PROBED + 1]:
            try:
                self.read_range(f"s3://{bucket}/{key}", None, 0, 1)
            except ObjectDeniedError:
                continue
            except ImageError:
                pass
            return True
        return False

    def _body(self, response: Any, length: int) -> bytes:
        """Reads a body chunk by chunk, to abandon one that arrives too slowly."""
        policy = self.connection.options.retry_policy
        deadline = time.monotonic() + policy.body_timeout_s(length)
        # urllib3's response, because boto3's wrapper blocks until all requested bytes are there.
        stream = response["Body"]._raw_stream
        content = bytearray()
        try:
            while len(content) < length:
                chunk = stream.read1(min(_CHUNK_BYTES, length - len(content)))
                if not chunk:
                    raise TransientError(f"cut off after {len(content)} of {length} bytes")
                content += chunk
                if time.monotonic() > deadline:
                    raise TransientError(f"too slow: {len(content)} of {length} bytes")
        except BaseException:
            stream.close()  # the rest of the body must not end up in another response
            raise
        stream.read1(1)  # reaches the end of the body, so that the connection can be reused
        stream.release_conn()
        return bytes(content)

    def _verify(self, content: bytes, response: Any, digests: list[bytes]) -> None:
        """Compares a whole object with its CRC32, or else with an etag that is its MD5.

        Args:
            content: of the object.
            response: its headers.
            digests: of earlier attempts; two equal ones are not damaged, so the etag is no MD5.

        Raises:
            TransientError: the content is damaged.
        """
        if "ChecksumCRC32" in response and response.get("ChecksumType") != "COMPOSITE":
            expected = response["ChecksumCRC32"]
            if "-" not in expected and int.from_bytes(b64decode(expected)) != zlib.crc32(content):
                raise TransientError("the content does not match its checksum (CRC32)")
            return
        etag = _unquoted(response.get("ETag", ""))
        # The etag of a multipart or KMS-encrypted object is no MD5.
        is_plain = response.get("ServerSideEncryption", "AES256") == "AES256"
        is_plain = is_plain and "SSECustomerAlgorithm" not in response
        if not (is_plain and len(etag) == _MD5_HEX_DIGITS and self._etag_is_md5):
            return
        digest = hashlib.md5(content, usedforsecurity=False).digest()
        if digest.hex() == etag.lower():
            return
        if digest in digests:
            self._etag_is_md5 = False
            return
        digests.append(digest)
        raise TransientError("the content does not match its checksum (MD5)")


def _if_match(etag: str | None) -> dict[str, Any]:
    return {} if etag is None else {"IfMatch": f'"{etag}"'}


def _unquoted(etag: str) -> str:
    return etag.strip('"')
