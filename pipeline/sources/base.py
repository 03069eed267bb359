"""What the engine asks of a source."""

from collections.abc import Iterator
from typing import Protocol

from pipeline.records import ImageRecord

__all__ = ["Fetcher", "Source"]


class Fetcher(Protocol):
    """Gets the bytes of one image; travels to the decode actors, so it must pickle."""

    def fetch(self, uri: str, max_bytes: int) -> bytes:
        """The content of a file.

        Raises:
            ImageError: it cannot be had (`fetch_failed`), or is longer than `max_bytes`.
        """
        ...


class Source(Protocol):
    """An archive of images."""

    @property
    def name(self) -> str:
        """Identity of the archive; the same input has the same name on every run."""
        ...

    @property
    def fetcher(self) -> Fetcher:
        """Gets the bytes."""
        ...

    def list_images(self) -> Iterator[ImageRecord]:
        """All images, with ascending keys, as a stream."""
        ...
