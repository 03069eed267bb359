"""From the name of an output to its store."""

import os
import re
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.storage.base import OutputStore
from pipeline.storage.local_output import LocalOutputStore
from pipeline.storage.s3_output import S3OutputStore

__all__ = ["open_output_store"]

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
