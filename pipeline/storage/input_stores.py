"""The stores that archives are read from, by URI scheme."""

from pipeline.errors import ImageError, Reason
from pipeline.storage.base import Store
from pipeline.storage.local_files import LocalFiles
from pipeline.storage.s3_connection import S3Connection, S3Options
from pipeline.storage.s3_objects import S3Objects

__all__ = ["Stores"]


class Stores:
    """One store a scheme; thread-safe.

    Args:
        options: of S3.
    """

    def __init__(self, options: S3Options | None = None) -> None:
        self._local = LocalFiles()
        self.s3 = S3Objects(S3Connection(options))

    def of(self, uri: str) -> Store:
        """The store that holds a file.

        Raises:
            ImageError: its scheme is neither file nor s3.
        """
        if uri.startswith("s3://"):
            return self.s3
        if uri.startswith("file://"):
            return self._local
        scheme = uri.partition("://")[0][:20]
        raise ImageError(
            Reason.FETCH_FAILED, f"{scheme!r} is not a readable scheme; allowed are file and s3"
        )
