"""What is asked of decoding, and what it gives."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MAX_BYTES",
    "PILLOW_MAX_PIXELS",
    "TIME_LIMIT_S",
    "DecodeMode",
    "DecodeSettings",
    "Decoded",
]

PILLOW_MAX_PIXELS = 178_956_970  # where Pillow itself gives up
MAX_BYTES = 256 * 2**20
TIME_LIMIT_S = 30.0

DecodeMode = Literal["exact", "fast"]
"""`exact`: within one grey level of the plain way. `fast`: large pictures are shrunk by cruder
steps first."""


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """What the model wants of a picture, and what is too much.

    Attributes:
        resize: short side after resizing, pixels.
        crop: side of the centre crop, pixels.
        interpolation: of the resizing.
        mode: how true to the plain way.
        max_pixels: pictures that declare more are not decoded.
        max_bytes: files that are longer are not read.
        time_limit_s: an isolated decoder is ended when one picture takes longer.
        memory_limit_bytes: data that an isolated decoder may hold.
    """

    resize: int
    crop: int
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    mode: DecodeMode = "exact"
    max_pixels: int = PILLOW_MAX_PIXELS
    max_bytes: int = MAX_BYTES
    time_limit_s: float = TIME_LIMIT_S
    memory_limit_bytes: int = 4 * 2**30


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels [crop, crop, 3] uint8, and the upright picture's own width and height."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
