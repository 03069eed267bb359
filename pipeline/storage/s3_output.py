"""An output in an S3 bucket.

The store must honour conditional puts (`If-None-Match`), as AWS S3 and current compatible stores
do.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import pyarrow.fs as pa_fs
from botocore.exceptions import ClientError
from deltalake.fs import DeltaStorageHandler

from pipeline.errors import OutputFailedError, UsageError
from pipeline.storage.base import OutputStore
from pipeline.storage.errors import ObjectExistsError, ObjectGoneError, output_failures
from pipeline.storage.s3_connection import S3Connection
from pipeline.storage.s3_objects import S3Objects

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

__all__ = ["S3OutputStore"]

_DELETED_PER_REQUEST = 1000

T = TypeVar("T")


class S3OutputStore(OutputStore):
    """See `OutputStore`.

    Args:
        uri: `s3://bucket/prefix`.
        connection: to the store.

    Raises:
        UsageError: the URI names no bucket.
    """

    def __init__(self, uri: str, connection: S3Connection | None = None) -> None:
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not bucket:
            raise UsageError(f"out: must be a folder or s3://bucket/prefix (got {uri})")
        self._connection = connection or S3Connection()
        self._bucket, self._prefix = bucket, prefix.strip("/")
        self.uri = f"s3://{bucket}/{self._prefix}".rstrip("/")
        self.delta_url = f"s3://{bucket}/{quote(self._prefix)}".rstrip("/")
        self.retry_policy = self._connection.options.retry_policy

    @property
    def delta_options(self) -> dict[str, str]:
        """See `OutputStore`; region and endpoint are those that boto3 found."""
        with output_failures(self.uri):
            meta = self._connection.client.meta
        options = {"aws_conditional_put": "etag", **self.retry_policy.delta_options()}
        if meta.region_name and meta.region_name != "aws-global":
            options["aws_region"] = meta.region_name
        endpoint = urlsplit(meta.endpoint_url)
        if not (endpoint.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
            options["aws_endpoint"] = meta.endpoint_url
            options["allow_http"] = str(endpoint.scheme == "http").lower()
        return options

    def child(self, name: str) -> "S3OutputStore":
        """See `OutputStore`."""
        return S3OutputStore(f"{self.uri}/{name}", self._connection)

    def prepare(self) -> None:
        """See `OutputStore`."""

    def read(self, name: str) -> bytes | None:
        """See `OutputStore`."""
        with output_failures(self.uri):
            try:
                return S3Objects(self._connection).read(f"{self.uri}/{name}", None, sys.maxsize)
            except ObjectGoneError:
                return None

    def write(self, name: str, content: bytes | memoryview) -> None:
        """See `OutputStore`."""
        bucket, key = self._bucket, self._key(name)
        self._request(lambda client: client.put_object(Bucket=bucket, Key=key, Body=bytes(content)))

    def create(self, name: str, content: bytes) -> bool:
        """See `OutputStore`.

        If the response to a successful put is lost, the retry finds this caller's own object. So
        the content must identify the caller.
        """
        bucket, key = self._bucket, self._key(name)
        created = self._request(
            lambda client: client.put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
        )
        return created is not None or self.read(name) == content

    def names(self) -> Iterator[str]:
        """See `OutputStore`."""
        start = self._key("")
        where: Any = {"Bucket": self._bucket, "Prefix": start, "Delimiter": "/"}
        while True:
            page: Any = self._request(lambda client: client.list_objects_v2(**where))
            for item in page.get("Contents", ()):
                if item["Key"] != start:
                    yield item["Key"].removeprefix(start)
            for folder in page.get("CommonPrefixes", ()):
                yield folder["Prefix"].removeprefix(start)
            if not page["IsTruncated"]:
                return
            where["ContinuationToken"] = page["NextContinuationToken"]

    def delete(self, names: Iterable[str]) -> None:
        """See `OutputStore`."""
        keys = iter([self._key(name) for name in names])
        while objects := [{"Key": key} for key in islice(keys, _DELETED_PER_REQUEST)]:
            what: Any = {"Bucket": self._bucket, "Delete": {"Objects": objects, "Quiet": True}}

            def attempt(client: "S3Client", what: Any = what) -> None:
                # The response is a success even if no object could be deleted.
                for error in client.delete_objects(**what).get("Errors", ()):
                    code = error.get("Code", "unknown")
                    raise ClientError({"Error": {"Code": code}}, "DeleteObjects")

            try:
                self._request(attempt)
            except OutputFailedError as error:
                raise OutputFailedError(f"{error}; cannot delete {objects[0]['Key']}") from error

    def sync(self, names: Iterable[str]) -> None:
        """See `OutputStore`; a put is durable."""

    def age_s(self, name: str) -> float | None:
        """See `OutputStore`; both times are in one response of the store."""
        bucket, key = self._bucket, self._key(name)
        head: Any = self._request(lambda client: client.head_object(Bucket=bucket, Key=key))
        if head is None:
            return None
        now = parsedate_to_datetime(head["ResponseMetadata"]["HTTPHeaders"]["date"])
        return float((now - head["LastModified"]).total_seconds())

    def arrow(self) -> Any:
        """See `OutputStore`."""
        with output_failures(self.uri):
            return pa_fs.PyFileSystem(DeltaStorageHandler(self.delta_url, self.delta_options))

    def _request(self, send: Callable[["S3Client"], T]) -> T | None:
        """Sends a request; None if the object is missing, or exists where it must not."""
        with output_failures(self.uri):
            try:
                return self._connection.call(self.uri, send)
            except (ObjectExistsError, ObjectGoneError):
                return None

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}".lstrip("/")
