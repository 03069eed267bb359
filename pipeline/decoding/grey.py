"""Grey pixels of more than 8 bits, brought to 8.

How many of a sample's bits are used stands in few files: 12-bit sensors are stored in 16 bits,
16-bit ones in 32. The largest value of the picture tells, because a picture that uses less than a
sixteenth of its range would be shown black.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import ImageError, Reason

__all__ = ["grey_to_8_bits"]

_BITS = (8, 10, 12, 14, 16)
_SAMPLE_FORMAT = 339  # TIFF: 1 unsigned, 2 signed
_UNSIGNED = 1


def grey_to_8_bits(picture: Image.Image) -> tuple[Image.Image, bool]:
    """An 8-bit grey picture, and whether its range was inferred from its pixels.

    Args:
        picture: of mode I;16, I;16B or I.

    Raises:
        ImageError: 32-bit pixels of unknown range.
    """
    values = _unsigned(picture)
    bits = _used_bits(int(values.max()))
    declared = 16 if picture.mode.startswith("I;16") else 32
    shown = (values >> (bits - 8)).astype(np.uint8)
    return Image.fromarray(shown), bits != declared


def _unsigned(picture: Image.Image) -> NDArray[np.uint32]:
    pixels = np.asarray(picture)
    if picture.mode.startswith("I;16"):
        return pixels.astype(np.uint16).astype(np.uint32)
    signed = pixels.astype(np.int32)
    tags = getattr(picture, "tag_v2", {})
    if signed.min() < 0 and tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))[0] != _UNSIGNED:
        raise ImageError(Reason.UNREADABLE, "pixels are signed 32-bit numbers of unknown range")
    return signed.view(np.uint32)  # Pillow has no unsigned mode


def _used_bits(largest: int) -> int:
    for bits in _BITS:
        if largest < 2**bits:
            return bits
    if largest < 2**28:
        raise ImageError(
            Reason.UNREADABLE, f"32-bit grey pixels of unknown range (the largest is {largest})"
        )
    return 32
