"""Where bytes lie: local folders and S3. No other room tells them apart.

`Store` reads the files of an archive by URI and checks that they are still those that were listed.
`OutputStore` writes an output's files by name, each atomically. Both send their S3 requests through
`S3Connection`, with the retries of `RetryPolicy` and the errors of `errors`.
"""

import os
import re
from pathlib import Path

from pipeline.errors import UsageError
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


# Delta Lake turns names into URLs and back. It does not find these again, or finds another name.
_UNUSABLE = re.compile(r"%[0-9A-Fa-f]{2}|[\x00-\x1f\x7f\ud800-\udfff\\\[\]^|]")
_UNUSABLE_ON_S3 = re.compile(rf"{_UNUSABLE.pattern}|[#?]")


def open_output_store(location: str | Path) -> OutputStore:
    """The store for an output; nothing is created or requested yet.

    Args:
        location: a folder, or `s3://bucket/prefix`.

    Raises:
        UsageError: the URI names no bucket, or Delta Lake cannot use the name.
    """
    text = str(location)
    if text.startswith("s3://"):
        _check_name(text, _UNUSABLE_ON_S3)
        return S3OutputStore(text)
    folder = Path(text).expanduser()
    _check_name(os.path.realpath(folder), _UNUSABLE)  # Delta Lake follows links too
    return LocalOutputStore(folder)


def _check_name(name: str, unusable: re.Pattern[str]) -> None:
    if found := unusable.search(name):
        raise UsageError(
            f"out: Delta Lake cannot use a path that holds {found[0]!a} "
            f"(got {ascii(name)[1:-1]}); choose another --out"
        )
