"""The formats that are opened, and what the first bytes of a file reveal.

Excluded are formats that Pillow passes to other programs (EPS to Ghostscript), that hold no raster,
that need plugins (BUFR, GRIB, HDF5, WMF), that hold measurements of unknown range (FITS, MCIDAS,
SPIDER), or that have no signature (IM, IMT).
"""

from functools import cache

import pillow_heif
from PIL import Image

__all__ = ["FORMATS", "available_formats", "has_signature", "is_cut_off"]

# In the order in which Pillow tries them: frequent formats first, TGA last, as it has no signature.
FORMATS: tuple[str, ...] = (
    *("JPEG", "PNG", "WEBP", "GIF", "TIFF", "HEIF", "AVIF", "BMP", "JPEG2000", "MPO", "ICO", "CUR"),
    *("DCX", "DDS", "DIB", "FLI", "ICNS", "PCX", "PPM", "PSD", "QOI", "SGI", "SUN", "XBM", "XPM"),
    *("BLP", "FTEX", "GBR", "MSP", "PCD", "PIXAR", "XVTHUMB", "TGA"),
)
_SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF8",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
    b"8BPS",
    b"qoif",
    b"icns",
)
_BRANDS = {b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
_MAX_BRANDS_BYTES = 256
_BMP_HEADER_BYTES = (12, 40, 52, 56, 64, 108, 124)


@cache
def available_formats() -> tuple[str, ...]:
    """The formats that this build of Pillow supports; it refuses the names of others."""
    pillow_heif.register_heif_opener(
        thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
    )
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def has_signature(content: bytes) -> bool:
    """Whether a file starts like one of a common format."""
    return (
        content.startswith(_SIGNATURES)
        or (content[:4] == b"RIFF" and content[8:12] == b"WEBP")
        or (content[:2] == b"BM" and int.from_bytes(content[14:18], "little") in _BMP_HEADER_BYTES)
        or (content[4:8] == b"ftyp" and not _BRANDS.isdisjoint(_brands(content)))
    )


def _brands(content: bytes) -> list[bytes]:
    """The major and the compatible brands of an ISO base media file."""
    end = min(int.from_bytes(content[:4], "big"), len(content), _MAX_BRANDS_BYTES)
    return [content[8:12], *(content[start : start + 4] for start in range(16, end, 4))]


def is_cut_off(content: bytes) -> bool:
    """Whether a WebP, JPEG 2000, AVIF or HEIC file declares more bytes than it has."""
    if content[:4] == b"RIFF":
        return 8 + int.from_bytes(content[4:8], "little") > len(content)
    if content[4:8] not in (b"ftyp", b"jP  "):
        return False
    start = 0
    while start < len(content):
        length = int.from_bytes(content[start : start + 4], "big")
        if length == 1:
            length = int.from_bytes(content[start + 8 : start + 16], "big")
        if length < 8:  # extends to the end of the file, or is damaged
            return False
        start += length
    return start > len(content)
