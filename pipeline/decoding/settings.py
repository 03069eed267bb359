"""What decoding is asked for, and what it returns."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.decoding.options import DecodeOptions

__all__ = ["DecodeNote", "DecodeSettings", "Decoded"]


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
