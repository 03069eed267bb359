"""From the name of an output to its store."""

import os
import re
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.logs import visible
from pipeline.storage.base import OutputStore
from pipeline.storage.local_output import LocalOutputStore
from pipeline.storage.s3_output import S3OutputStore

__all__ = ["open_output_store"]

# Delta Lake decodes the paths of its tables twice: it does not find these again, or finds others.
_UNUSABLE = {
    r"%[0-9A-Fa-f]{2}": "percent escapes",
    r"[\x00-\x1f\x7f]": "control characters",
    r"[\ud800-\udfff]": "bytes that are not UTF-8",
}
_UNUSABLE_LOCALLY = {**_UNUSABLE, r"\\": "backslashes"}
_UNUSABLE_ON_S3 = {
    **_UNUSABLE,
    r"(?<!:)(?<!:/)//": "empty names",
    r"/\.\.?(?=/|$)": "relative names",
}


def open_output_store(location: str | Path, option: str = "out") -> OutputStore:
    """The store for an output; nothing is created or requested yet.

    Args:
        location: a folder, or `s3://bucket/prefix`.
        option: that names it, for messages.

    Raises:
        UsageError: the URI names no bucket, or Delta Lake cannot use the name.
    """
    text = str(location)
    if text.startswith("s3://"):
        _check_name(text.rstrip("/"), _UNUSABLE_ON_S3, option)
        return S3OutputStore(text)
    folder = Path(text).expanduser()
    real_folder = os.path.realpath(folder)  # Delta Lake follows links too
    _check_name(real_folder, _UNUSABLE_LOCALLY, option)
    return LocalOutputStore(folder)


def _check_name(name: str, unusable: dict[str, str], option: str) -> None:
    for pattern, what in unusable.items():
        if found := re.search(pattern, name):
            raise UsageError(
                f"{option}: Delta Lake cannot use paths with {what} such as {visible(found[0])} "
                f"(got {visible(name)}); choose another name"
            )
