"""Where an output lies: a folder, or a prefix of an S3 bucket. Nothing else tells them apart."""

from pathlib import Path

from pipeline.storage.base import Place
from pipeline.storage.errors import output_failures
from pipeline.storage.local import LocalPlace
from pipeline.storage.s3 import S3Place

__all__ = ["LocalPlace", "Place", "S3Place", "open_place", "output_failures"]


def open_place(location: str | Path) -> Place:
    """The place for an OUT argument; nothing is made or asked for yet.

    Args:
        location: a folder, or `s3://bucket/prefix`.

    Raises:
        UsageError: it is no place of these kinds.
    """
    text = str(location)
    if text.startswith("s3://"):
        return S3Place.open(text)
    return LocalPlace(Path(text).expanduser())
