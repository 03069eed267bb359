"""Decodes a picture: upright, RGB, transparency over white; limits are checked first.

Embedded colour profiles are ignored, as by Pillow's `convert("RGB")`, with which the published
checkpoints were trained and evaluated.
"""

import io
import struct
import warnings

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from pipeline.decoding.fitting import fit
from pipeline.decoding.formats import available_formats, has_signature, is_cut_off
from pipeline.decoding.settings import PILLOW_MAX_PIXELS, Decoded, DecodeSettings
from pipeline.errors import ImageError, Reason

__all__ = ["decode", "open_upright"]

_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_ORIENTATION = 0x0112
_SIDEWAYS = range(5, 9)  # orientations that swap width and height
# Raised by Pillow for a damaged EXIF block; the picture itself may be valid.
_EXIF_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)


def decode(content: bytes, settings: DecodeSettings) -> Decoded:
    """Decodes, rotates upright, resizes and crops one picture.

    Raises:
        ImageError: the file is no usable picture.
    """
    shrink_to = settings.resize if settings.decode == "fast" else None
    picture, size = _open(content, settings.max_pixels, shrink_to)
    return Decoded(fit(picture, settings, size), *size)


def open_upright(content: bytes, max_pixels: int = PILLOW_MAX_PIXELS) -> Image.Image:
    """Decodes one picture, upright, RGB over white.

    Raises:
        ImageError: the file is no usable picture.
    """
    return _open(content, max_pixels, None)[0]


def _open(
    content: bytes, max_pixels: int, shrink_to: int | None
) -> tuple[Image.Image, tuple[int, int]]:
    """The upright picture, and its full size.

    With `shrink_to`, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size by a partial inverse DCT, as
    long as its short side keeps that many pixels.
    """
    if not content:
        raise ImageError(Reason.TRUNCATED, "the file is empty (0 bytes)")
    try:
        # Pillow's warning about large pictures would only repeat `_check_size`.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture: Image.Image = Image.open(io.BytesIO(content), formats=available_formats())
            size = picture.size
            _check_size(size, max_pixels)
            if shrink_to is not None:
                _shrink(picture, shrink_to)
            drafted = picture.size
            picture.load()
            if picture.size != drafted:  # an icon reveals the size of its picture only now
                size = picture.size
                _check_size(size, max_pixels)
            orientation = _orientation(picture)
            if orientation in _SIDEWAYS:
                size = size[::-1]
            if orientation != 1:
                ImageOps.exif_transpose(picture, in_place=True)
            return _as_rgb(picture), size
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(Reason.TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        raise _unidentified(content) from error
    except MemoryError as error:
        raise ImageError(Reason.TOO_LARGE, "not enough memory to decode it") from error
    except Exception as error:
        raise _undecodable(error, content) from error


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise ImageError(
            Reason.TOO_LARGE, f"{size[0]}x{size[1]} pixels, at most {max_pixels} are decoded"
        )
    if min(size) < 1:
        raise ImageError(Reason.UNREADABLE, f"it declares {size[0]}x{size[1]} pixels")


def _shrink(picture: Image.Image, short_side: int) -> None:
    for divisor in (8, 4, 2):
        if min(picture.size) >= divisor * short_side and isinstance(picture, ImageFile.ImageFile):
            picture.draft(None, (picture.width // divisor, picture.height // divisor))
            return


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation from 1 (upright) to 8; 1 if the EXIF block is damaged."""
    try:
        orientation = picture.getexif().get(_ORIENTATION, 1)
        return orientation if orientation in range(1, 9) else 1
    except _EXIF_ERRORS:
        return 1


def _as_rgb(picture: Image.Image) -> Image.Image:
    """RGB, with transparency over white, as browsers show it."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in _WITH_ALPHA or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    if picture.mode == "F":
        raise ImageError(Reason.UNREADABLE, "pixels are floating point numbers of unknown range")
    if picture.mode == "I":
        grey = np.asarray(picture) >> 8
        return Image.fromarray(grey.clip(0, 255).astype(np.uint8)).convert("RGB")
    return picture.convert("RGB")


def _unidentified(content: bytes) -> ImageError:
    """The error for a file whose header Pillow does not recognise."""
    if has_signature(content):
        if len(content) < 64 or is_cut_off(content):
            return ImageError(Reason.TRUNCATED, f"ends within its header ({len(content)} bytes)")
        return ImageError(Reason.UNREADABLE, "starts like a picture, but its header is damaged")
    return ImageError(Reason.NOT_AN_IMAGE, "its content has no known picture format")


def _undecodable(error: Exception, content: bytes) -> ImageError:
    """The error for a file whose header is valid, but whose data are not."""
    message = f"{error}" or type(error).__name__
    hints = ("truncated", "unexpected end", "end of file", "not enough image data", "eof")
    is_short = isinstance(error, EOFError) or any(hint in message.lower() for hint in hints)
    if is_short or is_cut_off(content):
        return ImageError(Reason.TRUNCATED, message)
    return ImageError(Reason.UNREADABLE, message)
