"""The first directory of a TIFF structure, as TIFF, EXIF and most camera raw files have it.

Pillow stops reading at the first odd entry; here each entry counts for itself.
Source: TIFF 6.0, section 2.
"""

import struct

__all__ = ["first_directory"]

_MAX_ENTRIES = 512
_SHORT = 3


def first_directory(content: bytes) -> dict[int, int]:
    """Tag to value, for values of one number; empty if it is no TIFF structure."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
    if order is None or len(content) < 8:
        return {}
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    if start + 2 > len(content):
        return {}
    (count,) = struct.unpack_from(f"{order}H", content, start)
    tags = {}
    for entry in range(min(count, _MAX_ENTRIES)):
        position = start + 2 + 12 * entry
        if position + 12 > len(content):
            break
        tag, kind, _ = struct.unpack_from(f"{order}HHI", content, position)
        width = "H" if kind == _SHORT else "I"
        (tags[tag],) = struct.unpack_from(f"{order}{width}", content, position + 8)
    return tags
