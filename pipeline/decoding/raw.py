"""Camera raw files: recognised by content, shown by their largest embedded preview.

Most are laid out as TIFF, and a TIFF reader shows their first directory, a thumbnail of 160 pixels.
`rawpy` (LibRaw) reads them; it is an extra of this package.
"""

import io
from typing import Any

from PIL import Image

from pipeline.decoding.tiff import first_directory
from pipeline.errors import ImageError, Reason

__all__ = ["is_camera_raw", "raw_preview"]

_SIGNATURES = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM")
_NEW_SUBFILE_TYPE, _SUB_DIRECTORIES, _DNG_VERSION = 254, 330, 50706
_PREVIEW = 1
_LEAST_SIDE = 512  # pixels; a smaller preview is a thumbnail
# LibRaw's `flip` as Pillow's method.
_TURNS = {
    3: Image.Transpose.ROTATE_180,
    5: Image.Transpose.ROTATE_90,
    6: Image.Transpose.ROTATE_270,
}


def is_camera_raw(content: bytes) -> bool:
    """Whether a file is a camera raw file: NEF, CR2, CR3, ARW, DNG, ORF, RW2, RAF and relatives."""
    if content.startswith(_SIGNATURES) or content[8:11] == b"CR\x02":
        return True
    if content[4:12] == b"ftypcrx ":
        return True
    tags = first_directory(content)
    return _DNG_VERSION in tags or (
        _SUB_DIRECTORIES in tags and tags.get(_NEW_SUBFILE_TYPE) == _PREVIEW
    )


def raw_preview(content: bytes) -> Image.Image:
    """The largest preview, upright; developed at half size where there is only a thumbnail.

    Raises:
        ImageError: `rawpy` is not installed, or it cannot read the file.
    """
    try:
        import rawpy
    except ImportError as error:
        raise ImageError(
            Reason.UNREADABLE, "a camera raw file: pip install 'dvt-pipeline[raw]' to read these"
        ) from error
    try:
        with rawpy.imread(io.BytesIO(content)) as raw:
            return _largest(rawpy, raw)
    except rawpy.LibRawError as error:
        raise ImageError(
            Reason.UNREADABLE, f"a camera raw file that LibRaw cannot read: {_text(error)}"
        ) from error


def _largest(rawpy: Any, raw: Any) -> Image.Image:
    try:
        preview = raw.extract_thumb()
        if preview.format == rawpy.ThumbFormat.JPEG:
            image: Image.Image = Image.open(io.BytesIO(preview.data), formats=("JPEG",))
        else:
            image = Image.fromarray(preview.data)
        if max(image.size) >= _LEAST_SIDE:
            turn = _TURNS.get(raw.sizes.flip)
            return image.convert("RGB") if turn is None else image.convert("RGB").transpose(turn)
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
        pass
    return Image.fromarray(raw.postprocess(half_size=True, use_camera_wb=True))


def _text(error: Exception) -> str:
    value = error.args[0] if error.args else error
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
