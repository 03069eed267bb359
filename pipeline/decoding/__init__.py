"""From the bytes of one file to uint8 pixels of the model's size.

By content, never by extension. What cannot be read raises an `ImageError` with an entry of the
fixed list of reasons; no other exception leaves this room for a bad file. `decode` works in the
process that calls it; `IsolatedDecoder` does the same in a child process, where a file that crashes
or hangs its decoder costs one image. Knows Pillow and numpy; neither torch nor Ray.
"""

from pipeline.decoding.fitting import fit
from pipeline.decoding.isolated import IsolatedDecoder
from pipeline.decoding.picture import decode, open_upright
from pipeline.decoding.settings import Decoded, DecodeOptions, DecodeSettings

__all__ = [
    "DecodeOptions",
    "DecodeSettings",
    "Decoded",
    "IsolatedDecoder",
    "decode",
    "fit",
    "open_upright",
]
