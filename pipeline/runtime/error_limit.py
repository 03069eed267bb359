"""How many images may fail before a run stops. Pure."""

import math

__all__ = ["allowed_dead_letters"]

_MIN_LISTED = 1000
_ROUNDING = 1e-9


def allowed_dead_letters(
    limit: int | float | None, num_images: int | None, num_listed: int, is_uncountable: bool
) -> int | None:
    """The limit as a number of images; None if there is none, or not yet.

    A share is one of the whole archive, once that is counted or listed to its end. Of an archive
    that nobody counts (tars), it is one of the images listed so far, from the thousandth on, since
    a few failures at the beginning mean little.

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
