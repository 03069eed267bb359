"""Where bytes lie: local folders and S3. No other room tells them apart.

`Store` reads the files of an archive by URI and checks that they are still those that were listed.
`OutputStore` writes an output's files by name, each atomically. Both send their S3 requests through
`S3Connection`, with the retries of `RetryPolicy` and the errors of `errors`.
"""

from pathlib import Path

from pipeline.storage.base import FileStatus, OutputStore, Store
from pipeline.storage.errors import output_failures
from pipeline.storage.local_files import read_file
from pipeline.storage.local_output import LocalOutputStore
from pipeline.storage.retry_policy import RetryPolicy
from pipeline.storage.s3_connection import S3Options
from pipeline.storage.s3_output import S3OutputStore
from pipeline.storage.stores import Stores

__all__ = [
    "FileStatus",
    "LocalOutputStore",
    "OutputStore",
    "RetryPolicy",
    "S3Options",
    "S3OutputStore",
    "Store",
    "Stores",
    "open_output_store",
    "output_failures",
    "read_file",
]


def open_output_store(location: str | Path) -> OutputStore:
    """The store for an output; nothing is created or requested yet.

    Args:
        location: a folder, or `s3://bucket/prefix`.

    Raises:
        UsageError: the URI names no bucket.
    """
    text = str(location)
    if text.startswith("s3://"):
        return S3OutputStore(text)
    return LocalOutputStore(Path(text).expanduser())
