"""A decode process with one more format, whose decoder crashes or hangs as its file says.

crash          ends the process with a segmentation fault
abort          as a library does that finds its memory damaged
hang           never comes back
crash once at  ends the process unless the file that follows exists, and makes it
memory         asks for more than the process may hold
"""

import ctypes
import os
import time
from pathlib import Path

from PIL import Image, ImageFile

from pipeline.decoding import child, formats

MAGIC = b"CRASHME "


class _CrashingFile(ImageFile.ImageFile):
    format = "CRASHME"

    def _open(self) -> None:
        assert self.fp is not None
        self._what = self.fp.read()[len(MAGIC) :].decode()
        self._size, self._mode = (64, 64), "RGB"

    def load(self) -> None:
        what, _, path = self._what.partition(" once at ")
        if path:
            if Path(path).exists():
                what = "nothing"
            Path(path).touch()
        match what:
            case "crash":
                ctypes.string_at(0)
            case "abort":
                os.abort()
            case "hang":
                time.sleep(3600)
            case "memory":
                bytearray(2**40)
        self.im = Image.new("RGB", (64, 64)).im


def _accepts(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


if __name__ == "__main__":
    Image.register_open("CRASHME", _CrashingFile, _accepts)
    formats.FORMATS = ("CRASHME", *formats.FORMATS)
    child.main()
