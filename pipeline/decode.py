"""From the bytes of one file to uint8 pixels of the model's size.

By content, never by extension. What cannot be read raises an `ImageError` with an entry of the
fixed list of reasons; no other exception leaves this module for a bad file.
Knows Pillow and numpy; neither torch nor Ray.
"""

import io
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.errors import ImageError, Reason

__all__ = ["DecodeSettings", "Decoded", "decode", "fit", "open_upright"]

PILLOW_MAX_PIXELS = 178_956_970  # where Pillow itself gives up

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
# What Pillow decodes by itself. Left out is what it hands to other programs or runs as code (EPS
# goes to Ghostscript), and what holds no raster.
_FORMATS = (
    "AVIF",
    "BMP",
    "DDS",
    "DIB",
    "GIF",
    "ICNS",
    "ICO",
    "JPEG",
    "JPEG2000",
    "MPO",
    "PCX",
    "PNG",
    "PPM",
    "PSD",
    "QOI",
    "SGI",
    "TGA",
    "TIFF",
    "WEBP",
    "XBM",
)
_WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")


@dataclass(frozen=True, slots=True)
class DecodeSettings:
    """What the model wants of a picture, and what is too much.

    Attributes:
        resize: short side after resizing, pixels.
        crop: side of the centre crop, pixels.
        interpolation: of the resizing.
        max_pixels: pictures that declare more are not decoded.
        max_bytes: files that are longer are not read.
    """

    resize: int
    crop: int
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    max_pixels: int = PILLOW_MAX_PIXELS
    max_bytes: int = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels [crop, crop, 3] uint8, and the upright picture's own width and height."""

    pixels: NDArray[np.uint8]
    width: int
    height: int


def decode(content: bytes, settings: DecodeSettings) -> Decoded:
    """Decodes, turns upright, resizes and crops one picture.

    Raises:
        ImageError: with the reason why this file is no usable picture.
    """
    picture = open_upright(content, settings.max_pixels)
    return Decoded(fit(picture, settings), picture.width, picture.height)


def open_upright(content: bytes, max_pixels: int = PILLOW_MAX_PIXELS) -> Image.Image:
    """One picture, decoded by its content, turned upright, RGB over white.

    Raises:
        ImageError: with the reason why this file is no usable picture.
    """
    if not content:
        raise ImageError(Reason.TRUNCATED, "the file is empty (0 bytes)")
    try:
        # Limits are checked against the header before any pixel is decoded; Pillow's own
        # warning about large pictures would only say the same again.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(content), formats=_available_formats())
            if picture.width * picture.height > max_pixels:
                raise ImageError(
                    Reason.TOO_LARGE,
                    f"{picture.width}x{picture.height} pixels, at most {max_pixels} are decoded",
                )
            picture.load()
            return _as_rgb(ImageOps.exif_transpose(picture))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(Reason.TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        raise _unidentified(content) from error
    except MemoryError as error:
        raise ImageError(Reason.TOO_LARGE, "not enough memory to decode it") from error
    except Exception as error:
        raise _undecodable(error) from error


@cache
def _available_formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this build of Pillow has; asking for another is an error there."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _as_rgb(picture: Image.Image) -> Image.Image:
    """RGB, with transparency over white as browsers show it on a page."""
    if picture.mode in _WITH_ALPHA or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    if picture.mode == "F":
        raise ImageError(Reason.UNREADABLE, "pixels are floating point numbers of unknown range")
    if picture.mode.startswith("I;16") or picture.mode == "I":
        grey = np.asarray(picture, dtype=np.int64)
        return Image.fromarray((grey >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    return picture.convert("RGB")


def fit(picture: Image.Image, settings: DecodeSettings) -> NDArray[np.uint8]:
    """Short side to `resize`, then the centre crop.

    Width and height are rounded as torchvision's Resize and CenterCrop do it, which trained the
    published checkpoints.

    Raises:
        ImageError: the picture is so thin that it would be too large once resized.
    """
    short, long = sorted(picture.size)
    scaled_long = int(settings.resize * long / short)
    size = (
        (settings.resize, scaled_long)
        if picture.width <= picture.height
        else (scaled_long, settings.resize)
    )
    # A thin strip would grow by its own factor; 1x40000 pixels become 2.6 billion.
    if size[0] * size[1] > settings.max_pixels:
        raise ImageError(
            Reason.TOO_LARGE, f"{picture.width}x{picture.height} is too elongated to resize"
        )
    left, top = (round((side - settings.crop) / 2) for side in size)
    box = (left, top, left + settings.crop, top + settings.crop)
    resized = picture.resize(size, _FILTERS[settings.interpolation]).crop(box)
    return np.asarray(resized, dtype=np.uint8)


def _unidentified(content: bytes) -> ImageError:
    """No header was recognised: cut off within it, or not a picture at all."""
    signatures = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\0", b"MM\0*")
    is_webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    if is_webp or content.startswith(signatures):
        if len(content) < 64:
            return ImageError(Reason.TRUNCATED, f"ends within its header ({len(content)} bytes)")
        return ImageError(Reason.UNREADABLE, "starts like a picture, but its header is damaged")
    return ImageError(Reason.NOT_AN_IMAGE, "its content is of no known picture format")


def _undecodable(error: Exception) -> ImageError:
    """A header was recognised, but the data behind it failed."""
    message = f"{error}" or type(error).__name__
    hints = ("truncated", "unexpected end", "not enough image data")
    if isinstance(error, EOFError) or any(hint in message.lower() for hint in hints):
        return ImageError(Reason.TRUNCATED, message)
    return ImageError(Reason.UNREADABLE, message)
