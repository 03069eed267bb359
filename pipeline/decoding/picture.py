"""Decodes a picture: upright, RGB, transparency over white; limits are checked first.

Embedded colour profiles are ignored, as by Pillow's `convert("RGB")`, with which the published
checkpoints were trained and evaluated.
"""

import io
import struct
import warnings
from typing import NamedTuple

from PIL import Image, ImageFile, UnidentifiedImageError

from pipeline.decoding.fitting import fit
from pipeline.decoding.formats import available_formats, has_signature, is_cut_off
from pipeline.decoding.grey import grey_to_8_bits
from pipeline.decoding.pixel_data import (
    END_OF_IMAGE,
    exif_orientation,
    has_all_scanlines,
    orientation_of,
    pixel_data,
)
from pipeline.decoding.raw import is_camera_raw, raw_preview
from pipeline.decoding.settings import (
    Decoded,
    DecodeNote,
    DecodeSettings,
)
from pipeline.errors import ImageError, Reason
from pipeline.file_kinds import FileKind, kind_of

__all__ = ["decode", "other_kind"]

_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_TURNS[orientation] for orientation in range(5, 9)}  # swap width and height
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
        ImageError: the file is no usable picture; `kind` says what else it is.
    """
    shrink_to = settings.resize if settings.decode == "fast" else None
    try:
        opened = _open(content, settings.max_pixels, shrink_to)
    except ImageError as error:
        if error.reason is not Reason.TOO_LARGE:
            error.kind = other_kind(content)
        raise
    return Decoded(fit(opened.picture, settings, opened.size), *opened.size, opened.note)


class _Opened(NamedTuple):
    """An upright RGB picture, its full width and height, and what was unusual about it."""

    picture: Image.Image
    size: tuple[int, int]
    note: DecodeNote | None = None


def _open(content: bytes, max_pixels: int, shrink_to: int | None) -> _Opened:
    """The upright picture; what is not pixels never costs one.

    With `shrink_to`, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size by a partial inverse DCT, as
    long as its short side keeps that many pixels.
    """
    if not content:
        raise ImageError(Reason.TRUNCATED, "the file is empty (0 bytes)")
    if is_camera_raw(content):
        preview = raw_preview(content)
        _check_size(preview.size, max_pixels)
        return _Opened(preview, preview.size, DecodeNote.RAW_PREVIEW)
    try:
        return _read(content, max_pixels, shrink_to)
    except ImageError as error:
        pixels = None if error.reason == Reason.TOO_LARGE else pixel_data(content)
        if pixels is None:
            raise
        note = None
        if error.reason == Reason.TRUNCATED and has_all_scanlines(pixels, max_pixels):
            pixels, note = pixels + END_OF_IMAGE, DecodeNote.NO_END_MARK
        try:
            opened = _read(pixels, max_pixels, shrink_to, exif_orientation(content))
        except ImageError:
            raise error from None
        return opened._replace(note=note or opened.note)


def _read(
    content: bytes, max_pixels: int, shrink_to: int | None, orientation: int | None = None
) -> _Opened:
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
            # Pillow's own `exif_transpose` writes the EXIF block again, which odd tags break.
            turn = _TURNS.get(orientation or _orientation(picture))
            rgb, is_inferred = _as_rgb(picture)
            if turn is not None:
                rgb = rgb.transpose(turn)
                size = size[::-1] if turn in _SIDEWAYS else size
            return _Opened(rgb, size, DecodeNote.RANGE_INFERRED if is_inferred else None)
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
    """The EXIF orientation from 1 (upright) to 8; 1 if there is none."""
    try:
        orientation: object = picture.getexif().get(_ORIENTATION)
        if isinstance(orientation, int) and orientation in range(1, 9):
            return orientation
    except _EXIF_ERRORS:
        pass  # damaged, but the entry that matters may be whole
    exif = picture.info.get("exif", b"")
    return orientation_of(exif) if isinstance(exif, bytes) else 1


def _as_rgb(picture: Image.Image) -> tuple[Image.Image, bool]:
    """RGB, transparency over white as in browsers; and whether the range was inferred."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture, False
    if picture.mode.startswith("I;16") or picture.mode == "I":
        grey, is_inferred = grey_to_8_bits(picture)
        return grey.convert("RGB"), is_inferred
    if picture.mode in _WITH_ALPHA or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB"), False
    if picture.mode == "F":
        raise ImageError(Reason.UNREADABLE, "pixels are floating point numbers of unknown range")
    return picture.convert("RGB"), False


def _unidentified(content: bytes) -> ImageError:
    """The error for a file whose header Pillow does not recognise."""
    if has_signature(content):
        if len(content) < 64 or is_cut_off(content):
            return ImageError(Reason.TRUNCATED, f"ends within its header ({len(content)} bytes)")
        return ImageError(Reason.UNREADABLE, "starts like a picture, but its header is damaged")
    kind = kind_of(content)
    is_known = kind is not FileKind.UNKNOWN
    detail = f"its content is no picture ({kind})" if is_known else "no known picture format"
    return ImageError(Reason.NOT_AN_IMAGE, detail)


def other_kind(content: bytes) -> FileKind | None:
    """What a file is that cannot be decoded; None if it starts like a picture.

    Formats without a distinctive start do not count: a text may begin like a bitmap.

    Args:
        content: of the file, or its first `HEAD_BYTES`.
    """
    if has_signature(content) or is_camera_raw(content):
        return None
    return kind_of(content)


def _undecodable(error: Exception, content: bytes) -> ImageError:
    """The error for a file whose header is valid, but whose data are not."""
    message = f"{error}" or type(error).__name__
    hints = ("truncated", "unexpected end", "end of file", "not enough image data", "eof")
    is_short = isinstance(error, EOFError) or any(hint in message.lower() for hint in hints)
    if is_short or is_cut_off(content):
        return ImageError(Reason.TRUNCATED, message)
    return ImageError(Reason.UNREADABLE, message)
