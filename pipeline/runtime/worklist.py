"""What a run has to do: shards with images without a result, and how many images there are."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import TooManyDeadLettersError
from pipeline.output.counts import Counts
from pipeline.output.ledger import Ledger
from pipeline.sources.listing import ShardListing
from pipeline.sources.sharding import Shard
from pipeline.units import counted

__all__ = ["Worklist", "allowed_dead_letters"]

_MIN_LISTED = 1000
_ROUNDING = 1e-9

OpenShard = tuple[int, NDArray[np.int64]]


class Worklist(Iterator[OpenShard | None]):
    """The shards of an archive that a run has to do.

    Yields the number of an open shard and its rows without a result, or None while the listing has
    no further shard yet.

    Args:
        shards: what to yield.
        ledger: opened the shards.
        listing: of the archive.
        max_errors: how many images may fail: a number, or a share of the archive; None for
            any number.
    """

    def __init__(
        self,
        shards: Iterator[OpenShard | None],
        ledger: Ledger,
        listing: ShardListing,
        max_errors: int | float | None = None,
    ) -> None:
        self._shards = shards
        self._ledger = ledger
        self._listing = listing
        self._max_errors = max_errors

    def __next__(self) -> OpenShard | None:
        """The next shard.

        Raises:
            StopIteration: the listing has ended.
            StorageDeniedError, StorageFailedError: the archive cannot be listed.
        """
        return next(self._shards)

    def shard(self, number: int) -> Shard:
        """An open shard."""
        return self._ledger.shard(number)

    @property
    def num_images(self) -> int | None:
        """Images in the archive; None while unknown."""
        return self._listing.num_images

    @property
    def num_to_do(self) -> int | None:
        """Images that are for this run to do, including those it has done; None while unknown."""
        num_images = self.num_images
        return None if num_images is None else self._ledger.totals.num_to_do(num_images)

    @property
    def num_skipped(self) -> int:
        """Images listed so far that earlier runs have done."""
        return self._ledger.totals.num_skipped

    def check_dead_letters(self, counts: Counts) -> None:
        """Checks the error limit.

        Args:
            counts: of all results of this run, committed or not.

        Raises:
            TooManyDeadLettersError: more images failed than allowed.
        """
        totals, num_failed = self._ledger.totals, counts.num_dead_letters
        num_others = totals.num_other_files_before + counts.num_other_files
        num_images = None if self.num_images is None else self.num_images - num_others
        allowed = allowed_dead_letters(
            self._max_errors,
            num_images,
            totals.num_images - num_others,
            not self._listing.is_ahead,
        )
        if allowed is not None and num_failed > allowed:
            raise TooManyDeadLettersError(
                f"max-errors: {counted(num_failed, 'image')} failed, at most {allowed} may; "
                "see the dead_letters table"
            )


def allowed_dead_letters(
    limit: int | float | None, num_images: int | None, num_listed: int, is_uncountable: bool
) -> int | None:
    """The limit as a number of images; None if there is none, or not yet.

    A share refers to the whole archive, once that is counted or listed to its end. If an archive
    cannot be counted (tars), it refers to the images listed so far, from the thousandth on, because
    a few failures at the beginning mean little. Other files do not count as images, once they are
    found.

    Args:
        limit: a number, a share, or None for none.
        num_images: in the archive, if known.
        num_listed: so far.
        is_uncountable: the number will be known only at the end of the listing.
    """
    if limit is None or isinstance(limit, int):
        return limit
    if num_images is None and is_uncountable and num_listed >= _MIN_LISTED:
        num_images = num_listed
    return None if num_images is None else math.floor(limit * num_images + _ROUNDING)
