"""Where an output lies: a folder, or a prefix of an S3 bucket. Nothing else tells them apart."""

from pathlib import Path

from pipeline.storage.base import OutputStore
from pipeline.storage.errors import output_failures
from pipeline.storage.local import LocalOutputStore
from pipeline.storage.s3 import S3OutputStore

__all__ = [
    "LocalOutputStore",
    "OutputStore",
    "S3OutputStore",
    "open_output_store",
    "output_failures",
]


def open_output_store(location: str | Path) -> OutputStore:
    """The place for an OUT argument; nothing is made or asked for yet.

    Args:
        location: a folder, or `s3://bucket/prefix`.

    Raises:
        UsageError: it is no place of these kinds.
    """
    text = str(location)
    if text.startswith("s3://"):
        return S3OutputStore.open(text)
    return LocalOutputStore(Path(text).expanduser())
