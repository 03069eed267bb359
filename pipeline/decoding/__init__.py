"""From the bytes of one file to uint8 pixels of the model's input size.

The content determines the format, never the file name; what is no picture gets a kind beside the
reason. A bad file raises an `ImageError` with a
reason, and no other exception. `decode` runs in the calling process. `IsolatedDecoder` runs it in a
child process, where a file that crashes or hangs its decoder costs one image. Imports Pillow and
numpy, but neither torch nor Ray.
"""

from pipeline.decoding.fitting import fit
from pipeline.decoding.isolated import DecodedSize, IsolatedDecoder
from pipeline.decoding.options import DecodeOptions
from pipeline.decoding.picture import decode, other_kind
from pipeline.decoding.settings import Decoded, DecodeNote, DecodeSettings

__all__ = [
    "DecodeNote",
    "DecodeOptions",
    "DecodeSettings",
    "Decoded",
    "DecodedSize",
    "IsolatedDecoder",
    "decode",
    "fit",
    "other_kind",
]
