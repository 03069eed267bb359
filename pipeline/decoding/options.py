"""The options of a job that decide how images are decoded."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.options import Options
from pipeline.units import Bytes, Pixels

__all__ = ["DecodeOptions"]

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
        Pixels,
        Field(
            description="reject images with more pixels than this, e.g. 200M",
            json_schema_extra={"default_text": "178956970, Pillow's limit"},
        ),
    ] = PILLOW_MAX_PIXELS
    max_bytes: Annotated[
        Bytes,
        Field(
            description="reject files with more bytes than this, e.g. 1GiB",
            json_schema_extra={"default_text": "256MiB"},
        ),
    ] = 256 * 2**20
    decode_seconds: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="reject images that take more seconds than this to decode",
        ),
    ] = 30.0
