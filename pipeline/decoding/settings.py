"""What decoding is asked for, and what it returns."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.options import Options
from pipeline.units import Bytes, Pixels

__all__ = ["PILLOW_MAX_PIXELS", "DecodeNote", "DecodeOptions", "DecodeSettings", "Decoded"]

PILLOW_MAX_PIXELS = 178_956_970  # Pillow's own limit


class DecodeOptions(Options):
    """Decoding options."""

    decode: Annotated[
        Literal["exact", "fast"],
        Field(
            description="exact: within one grey level of Pillow's resize; fast: shrink large "
            "images coarsely first"
        ),
    ] = "exact"
    max_pixels: Annotated[
        Pixels, Field(description="reject images with more pixels than this, e.g. 200M")
    ] = PILLOW_MAX_PIXELS
    max_bytes: Annotated[
        Bytes, Field(description="reject files with more bytes than this, e.g. 1GiB")
    ] = 256 * 2**20
    decode_seconds: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="reject images that take more seconds than this to decode",
        ),
    ] = 30.0


class DecodeSettings(DecodeOptions):
    """Options of the job, and the input that the model expects."""

    resize: Annotated[int, Field(ge=1, description="short side after resizing, pixels")]
    crop: Annotated[int, Field(ge=1, description="side of the centre crop, pixels")]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    memory_limit_bytes: Annotated[
        int, Field(description="data segment of an isolated decoder (RLIMIT_DATA)")
    ] = 4 * 2**30


class DecodeNote(StrEnum):
    """What was unusual about an image that was decoded; column `decode_note` of `tags`."""

    NO_END_MARK = "no_end_mark"
    """A JPEG without its end mark, whose scanlines are complete."""
    RANGE_INFERRED = "range_inferred"
    """Grey values whose number of bits was inferred from the largest one."""
    RAW_PREVIEW = "raw_preview"
    """A camera raw file, shown by its largest preview."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels [crop, crop, 3] uint8, and width and height of the upright image."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    note: DecodeNote | None = None
