"""Small square pictures as `data:` URIs, read where the tags table says that they were.

A report must come out whatever happened to the archive since: a picture that cannot be read now
gives a reason in a few words, never an exception.
"""

import base64
import io
import warnings
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from PIL import Image, ImageOps

__all__ = ["THUMBNAIL_PIXELS", "read_thumbnail"]

THUMBNAIL_PIXELS = 160
_JPEG_QUALITY = 80
_MAX_PIXELS = 200_000_000
# Pillow would hand EPS to Ghostscript; an archive's file must not get that far.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def read_thumbnail(uri: str) -> tuple[str | None, str]:
    """Reads one picture: upright, centre-cropped to a square as the model sees it, on white.

    Args:
        uri: A path or a `file://` URI. Others are not fetched: a report needs no credentials.

    Returns:
        The `data:` URI and an empty string, or None and why there is no picture.
    """
    try:
        path = _local_path(uri)
        if path is None:
            return None, "not on this machine"
        if not path.is_file():
            return None, "no longer there"
        return _encode(path), ""
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        # SyntaxError is what Pillow raises for some broken PNG files.
        return None, "cannot be read now"


def _local_path(uri: str) -> Path | None:
    if "://" not in uri:
        return Path(uri)
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    # A `#` or `?` that was not percent-encoded belongs to the file's name.
    return Path(url2pathname(uri.split("://", 1)[1].removeprefix("localhost")))


def _encode(path: Path) -> str:
    with warnings.catch_warnings():
        # The limit is checked below, in our own words.
        warnings.simplefilter("ignore")
        with Image.open(path, formats=_FORMATS) as image:
            # Lets the JPEG decoder skip most of the work for large pictures.
            image.draft("RGB", (2 * THUMBNAIL_PIXELS, 2 * THUMBNAIL_PIXELS))
            if image.width * image.height > _MAX_PIXELS:
                raise ValueError(f"{path}: at most {_MAX_PIXELS} pixels are decoded")
            upright = ImageOps.exif_transpose(image)
            rgba = upright.convert("RGBA")
    square = ImageOps.fit(rgba, (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    on_white = Image.new("RGB", square.size, "white")
    on_white.paste(square, mask=square.getchannel("A"))
    encoded = io.BytesIO()
    on_white.save(encoded, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")
