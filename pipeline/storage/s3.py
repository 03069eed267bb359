"""A prefix of an S3 bucket as a place, also of stores that speak S3.

Endpoint, region and credentials come from the standard AWS chain and are never written anywhere.
The store must honour conditional puts (`If-None-Match`), as AWS S3 and its current relatives do.
"""

import logging
from collections.abc import Iterable, Iterator
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import pyarrow.fs as pa_fs
from botocore.config import Config
from botocore.exceptions import ClientError
from deltalake.fs import DeltaStorageHandler

from pipeline.errors import UsageError
from pipeline.storage.errors import output_failures

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import ObjectIdentifierTypeDef

__all__ = ["S3OutputStore"]

_MAX_DELETED = 1000
_CLIENT = Config(
    retries={"mode": "standard", "total_max_attempts": 8},  # backs off, with jitter
    connect_timeout=10,
    read_timeout=60,
)


@cache
def _client() -> "S3Client":
    """One client a process; it may be used by several threads."""
    logging.getLogger("botocore").setLevel(logging.WARNING)  # where it found its credentials
    return boto3.session.Session().client("s3", config=_CLIENT)


def _is(error: ClientError, *codes: str) -> bool:
    return error.response.get("Error", {}).get("Code") in codes


class S3OutputStore:
    """See `OutputStore`.

    Args:
        bucket: its name.
        prefix: without slashes at its ends; may be empty.
    """

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self.uri = f"s3://{bucket}/{prefix}".rstrip("/")
        self.local_folder: Path | None = None

    @classmethod
    def open(cls, uri: str) -> "S3OutputStore":
        """The place that a person named `s3://bucket/prefix`.

        Raises:
            UsageError: there is no bucket in it.
        """
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not bucket:
            raise UsageError(f"out: must be a folder or s3://bucket/prefix (got {uri})")
        return cls(bucket, prefix.strip("/"))

    @property
    def delta_options(self) -> dict[str, str]:
        """See `OutputStore`; the endpoint that boto3 found, so that both use the same store."""
        with output_failures(self.uri):
            meta = _client().meta
        options = {"aws_conditional_put": "etag"}
        if meta.region_name and meta.region_name != "aws-global":
            options["aws_region"] = meta.region_name
        endpoint = urlsplit(meta.endpoint_url)
        if not (endpoint.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
            options["aws_endpoint"] = meta.endpoint_url
            options["allow_http"] = str(endpoint.scheme == "http").lower()
        return options

    def child(self, name: str) -> "S3OutputStore":
        """See `OutputStore`."""
        return S3OutputStore(self._bucket, f"{self._prefix}/{name}".lstrip("/"))

    def prepare(self) -> None:
        """See `OutputStore`."""

    def read(self, name: str) -> bytes | None:
        """See `OutputStore`."""
        with output_failures(self.uri):
            try:
                answer = _client().get_object(Bucket=self._bucket, Key=self._key(name))
                return answer["Body"].read()
            except ClientError as error:
                if _is(error, "NoSuchKey", "404"):
                    return None
                raise

    def write(self, name: str, content: bytes | memoryview) -> None:
        """See `OutputStore`."""
        with output_failures(self.uri):
            _client().put_object(Bucket=self._bucket, Key=self._key(name), Body=bytes(content))

    def create(self, name: str, content: bytes) -> bool:
        """See `OutputStore`.

        A put whose answer is lost is sent again and finds its own object there; so what lies there
        is compared, and the content must tell who wrote it.
        """
        with output_failures(self.uri):
            try:
                _client().put_object(
                    Bucket=self._bucket, Key=self._key(name), Body=content, IfNoneMatch="*"
                )
            except ClientError as error:
                if not _is(error, "PreconditionFailed", "ConditionalRequestConflict"):
                    raise
                return self.read(name) == content
        return True

    def names(self) -> Iterator[str]:
        """See `OutputStore`."""
        start = f"{self._prefix}/" if self._prefix else ""
        with output_failures(self.uri):
            pages = (
                _client()
                .get_paginator("list_objects_v2")
                .paginate(Bucket=self._bucket, Prefix=start, Delimiter="/")
            )
            for page in pages:
                for item in page.get("Contents", []):
                    if item["Key"] != start:
                        yield item["Key"].removeprefix(start)
                for folder in page.get("CommonPrefixes", []):
                    yield folder["Prefix"].removeprefix(start)

    def delete(self, names: Iterable[str]) -> None:
        """See `OutputStore`."""
        with output_failures(self.uri):
            objects: list[ObjectIdentifierTypeDef] = [{"Key": self._key(name)} for name in names]
            for start in range(0, len(objects), _MAX_DELETED):
                some = objects[start : start + _MAX_DELETED]
                _client().delete_objects(
                    Bucket=self._bucket, Delete={"Objects": some, "Quiet": True}
                )

    def age_s(self, name: str) -> float | None:
        """See `OutputStore`; both times are in one answer of the store."""
        with output_failures(self.uri):
            try:
                answer = _client().head_object(Bucket=self._bucket, Key=self._key(name))
            except ClientError as error:
                if _is(error, "404", "NoSuchKey"):
                    return None
                raise
        now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return max(0.0, (now - answer["LastModified"]).total_seconds())

    def arrow(self) -> Any:
        """See `OutputStore`."""
        with output_failures(self.uri):
            return pa_fs.PyFileSystem(DeltaStorageHandler(self.uri, self.delta_options))

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}".lstrip("/")
