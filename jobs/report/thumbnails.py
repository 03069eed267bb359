"""Thumbnails as `data:` URIs, read from where the tags table says the images were.

A report must succeed whatever has happened to the archive since: an image that cannot be read now
gives a reason in a few words, never an exception.
"""

import base64
import io
from pathlib import Path
from typing import Self
from urllib.parse import quote, urlsplit

from PIL import Image

from pipeline.decoding import DecodeSettings, IsolatedDecoder
from pipeline.errors import ImageError, Reason
from pipeline.storage import read_file

__all__ = ["THUMBNAIL_PIXELS", "ThumbnailReader"]

THUMBNAIL_PIXELS = 160
_JPEG_QUALITY = 80
_MAX_BYTES = 256 * 2**20


class ThumbnailReader:
    """Reads images in a child process, which a hostile one may crash; use it in a `with` block."""

    def __init__(self) -> None:
        side = THUMBNAIL_PIXELS
        self._decoder = IsolatedDecoder(DecodeSettings(resize=side, crop=side, decode="fast"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._decoder.close()

    def read(self, uri: str) -> tuple[str | None, str]:
        """Reads one image: upright, centre-cropped to a square as for the model, on white.

        Args:
            uri: a path or a `file://` URI; others are not fetched, so a report needs no
                credentials.

        Returns:
            The `data:` URI and an empty string, or None and why there is no thumbnail.
        """
        if "://" not in uri:
            uri = "file://" + quote(str(Path(uri).absolute()))
        try:
            parts = urlsplit(uri)
        except ValueError:
            return None, "cannot be read now"
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            return None, "not on this machine"
        if parts.fragment:
            return None, "inside another file"
        try:
            pixels, (outcome,) = self._decoder.decode_all([read_file(uri, _MAX_BYTES)], 1)
        except ImageError as error:
            gone = error.reason is Reason.FETCH_FAILED
            return None, "no longer there" if gone else "cannot be read now"
        if isinstance(outcome, ImageError):
            return None, "cannot be read now"
        return _encode(Image.fromarray(pixels[0])), ""


def _encode(image: Image.Image) -> str:
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(encoded.getvalue()).decode("ascii")
