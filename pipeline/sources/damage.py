"""Damaged tars and Parquet files: what their readers raise, and what becomes of the images."""

import logging
import lzma
import tarfile
import zipfile

import pyarrow as pa

from pipeline.errors import (
    ImageError,
    PipelineError,
    Reason,
    StorageDeniedError,
    StorageFailedError,
)
from pipeline.records import ImageRecord, Unreadable

__all__ = ["DAMAGE_ERRORS", "damaged", "unreadable_rest"]

logger = logging.getLogger(__name__)

DAMAGE_ERRORS = (
    *(tarfile.TarError, zipfile.BadZipFile, NotImplementedError, lzma.LZMAError),
    *(OSError, EOFError, pa.ArrowException, ValueError),
)
"""Raised by `tarfile`, `zipfile` and pyarrow for damaged files."""


def damaged(error: Exception, what: str) -> ImageError:
    """The error for images in a damaged file.

    Args:
        error: one of `DAMAGE_ERRORS`.
        what: is damaged, for the message.
    """
    text = " ".join(str(error).split())
    is_cut_off = any(hint in text.lower() for hint in ("truncat", "unexpected end", "eof"))
    return ImageError(Reason.TRUNCATED if is_cut_off else Reason.UNREADABLE, f"{what}: {text}")


def unreadable_rest(error: Exception, file: ImageRecord, position: str) -> Unreadable:
    """Stands in the listing for the unknown rest of a file, so that it becomes a dead letter.

    Args:
        error: a `PipelineError`, or one of `DAMAGE_ERRORS`.
        file: the tar or Parquet file.
        position: that the error follows, for the message.

    Raises:
        StorageDeniedError, StorageFailedError: the error, if it does not concern the file alone.
    """
    if isinstance(error, StorageDeniedError | StorageFailedError):
        raise error
    if isinstance(error, ImageError):
        failure = ImageError(error.reason, f"the file cannot be read: {error.detail}")
    elif isinstance(error, PipelineError):
        failure = damaged(error, "the file cannot be used")
    else:
        failure = damaged(error, f"the file cannot be read behind {position}")
    logger.warning("%s: %s", file.uri, failure.detail)
    return Unreadable(file.uri, failure.reason, failure.detail)
