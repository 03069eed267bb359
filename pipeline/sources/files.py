"""Listings of files that are made of others: some named ones, and those of a listing that fit."""

import logging
from collections.abc import Callable, Iterator, Sequence

from pipeline.records import ImageRecord
from pipeline.sources.base import NOTHING_KEPT, Source

__all__ = ["ChosenFiles", "NamedFiles"]

logger = logging.getLogger(__name__)


class NamedFiles:
    """Files that were named one by one.

    Args:
        files: with ascending keys.
    """

    kept = NOTHING_KEPT

    def __init__(self, files: Sequence[ImageRecord]) -> None:
        self._files = files

    def list_images(self) -> Iterator[ImageRecord]:
        """As given."""
        return iter(self._files)

    def count_images(self) -> int:
        """As given."""
        return len(self._files)


class ChosenFiles:
    """The files of a listing that are wanted.

    Args:
        files: all of them.
        takes: whether a key is wanted.
        others: what to call the rest in the log; None if nobody needs to know of it.
    """

    kept = NOTHING_KEPT

    def __init__(
        self, files: Source, takes: Callable[[str], bool], others: str | None = None
    ) -> None:
        self._files = files
        self._takes = takes
        self._others = others

    def list_images(self) -> Iterator[ImageRecord]:
        """Those that are wanted, in the listing's order."""
        num_left_out = 0
        for image in self._files.list_images():
            if self._takes(image.key):
                yield image
            else:
                num_left_out += 1
        if num_left_out and self._others is not None:
            logger.info("left out %d %s", num_left_out, self._others)

    def count_images(self) -> int:
        """Lists everything."""
        return sum(1 for image in self._files.list_images() if self._takes(image.key))
